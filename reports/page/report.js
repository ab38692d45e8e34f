// Draws the report's charts from its data block, when they come into view and before printing.
{
  const data = JSON.parse(document.getElementById('data').textContent)
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
  const drawn = new Map()

  // Shades the calls before the first sample: they warmed the server up and were not measured.
  const warmUp = (plot) => {
    const { left, top, height } = plot.bbox
    const end = plot.valToPos(0, 'x', true)
    if (end <= left) return
    plot.ctx.fillStyle = colour('--warm')
    plot.ctx.fillRect(left, top, end - left, height)
  }

  const draw = (element) => {
    const { name, small } = { name: element.dataset.resource, small: 'small' in element.dataset }
    const resource = data.resources[name]
    const axis = { stroke: colour('--soft'), grid: { stroke: colour('--line'), width: 1 }, ticks: { stroke: colour('--line') } }
    const show = resource.bytes ? (_, ticks) => ticks.map(sizeInBytes) : undefined
    const showPoints = resource.x.length < 200 && !small
    const series = [{ label: 'calls' }]
    const columns = [resource.x]
    for (const [number, run] of resource.runs.entries()) {
      const stroke = colour(number ? '--bad' : '--series')
      columns.push(run)
      series.push({ label: data.labels[number], stroke, width: 1.5, points: { show: showPoints, size: 5 }, spanGaps: true })
    }
    const bands = []
    if (resource.fit && !small) {
      columns.push(resource.fit.line, resource.fit.high, resource.fit.low)
      series.push({ label: 'fit', stroke: colour('--bad'), width: 1.5, dash: [6, 4], points: { show: false } })
      for (const label of ['high', 'low']) series.push({ label, width: 0, points: { show: false } })
      bands.push({ series: [series.length - 2, series.length - 1], fill: colour('--band') })
    }
    element.replaceChildren()
    drawn.get(element)?.destroy()
    const plot = new uPlot(
      {
        width: Math.max(160, element.clientWidth),
        height: small ? 90 : 220,
        scales: {
          // A counter that never moved is a line in the middle.
          y: { range: (_, least, most) => (least === most ? [least - 1, most + 1] : uPlot.rangeNum(least, most, 0.1, true)) },
          x: { time: false, range: (_, least, most) => [Math.min(-data.warmup, least), most] },
        },
        axes: [
          { ...axis, show: !small, label: 'calls', labelSize: 18, size: 34 },
          { ...axis, show: !small, size: resource.bytes ? 82 : 64, values: show },
        ],
        cursor: { show: !small, y: false },
        series,
        bands,
        hooks: { drawClear: [warmUp] },
      },
      columns,
      element,
    )
    drawn.set(element, plot)
    element.dataset.drawn = ''
  }

  const charts = [...document.querySelectorAll('.chart')]
  const all = () => charts.filter((element) => !drawn.has(element)).forEach(draw)
  const near = 300
  const isNear = (element) => element.getBoundingClientRect().top < innerHeight + near
  charts.filter(isNear).forEach(draw) // the charts in view at once, the others when they come near
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting && !drawn.has(target)) draw(target)
      }
    },
    { rootMargin: `${near}px` },
  )
  charts.forEach((element) => observer.observe(element))
  addEventListener('beforeprint', all)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => [...drawn.keys()].forEach(draw))
  let waiting
  addEventListener('resize', () => {
    clearTimeout(waiting)
    waiting = setTimeout(() => [...drawn.keys()].forEach(draw), 200)
  })
}
