// Draws the charts of Locust's "SUT memory" tab below its table, while that tab is open.
{
  const KEY = 'sut-memory'
  const EVERY_MS = 2000
  const charts = new Map()
  let place = null

  const isOpen = () => new URLSearchParams(location.search).get('tab') === KEY

  const element = (name, className, text) => {
    const made = document.createElement(name)
    made.className = className
    if (text) made.textContent = text
    return made
  }

  const chart = (name, bytes) => {
    const box = element('figure', 'leakline-chart')
    box.append(element('figcaption', '', name))
    place.querySelector('.leakline-grid').append(box)
    const soft = getComputedStyle(place).getPropertyValue('--leakline-soft').trim()
    const line = getComputedStyle(place).getPropertyValue('--leakline-line').trim()
    const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } }
    const plot = new uPlot(
      {
        width: 340,
        height: 170,
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        scales: { x: { time: false } },
        axes: [
          { ...axis, values: (_, ticks) => ticks.map((t) => `${t} s`) },
          { ...axis, size: 72, values: bytes ? (_, ticks) => ticks.map(sizeInBytes) : undefined }
        ],
        series: [{}, { stroke: '#15ca82', width: 2, fill: 'rgba(21, 202, 130, 0.12)', spanGaps: true }]
      },
      [[], []],
      box
    )
    return plot
  }

  const draw = (state) => {
    const all = { 'callers (users)': { bytes: false, x: state.load.x, y: state.load.users }, ...state.resources }
    place.querySelector('.leakline-verdict').textContent = state.verdict
      ? `The verdict after the load: ${state.verdict}.`
      : 'Read while the load goes on; the verdict comes when the callers have gone.'
    for (const [name, one] of Object.entries(all)) {
      if (!charts.has(name)) charts.set(name, chart(name, one.bytes))
      charts.get(name).setData([one.x, one.y])
    }
  }

  const show = async () => {
    if (!isOpen()) {
      if (place) place.hidden = true
      return
    }
    if (!place) {
      place = element('section', 'leakline-memory')
      place.id = 'leakline-memory'
      place.append(element('p', 'leakline-verdict'), element('div', 'leakline-grid'))
    }
    // Below the tab's table; the page may have been drawn anew since.
    const home = document.querySelector('#root table')?.closest('.MuiContainer-root') ?? document.body
    if (place.parentElement !== home) home.append(place)
    place.hidden = false
    try {
      const answer = await fetch('leakline/readings')
      if (answer.ok) draw(await answer.json())
    } catch {
      // Locust has ended: what is drawn stays
    }
  }

  setInterval(show, EVERY_MS)
  addEventListener('click', () => setTimeout(show, 50))
  show()
}
