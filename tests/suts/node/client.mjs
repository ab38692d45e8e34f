// The official `openai` package for Node, unmodified, over every endpoint. Prints what came back as JSON.
import OpenAI, { toFile } from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';

const client = new OpenAI({ maxRetries: 0, timeout: 20000 });
const messages = [{ role: 'user', content: 'Two burgers, please.' }];
const add = { name: 'add_to_cart', parameters: { type: 'object', properties: { item: { type: 'string' } }, required: ['item'] } };
const found = {};

const chat = await client.chat.completions.create({ model: 'gpt-4o-mini', messages });
found.chat = chat.choices[0].message.content;

let text = '';
for await (const chunk of await client.chat.completions.create({ model: 'gpt-4o-mini', messages, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? '';
}
found.streamed = text;

const tools = await client.chat.completions.create({ model: 'gpt-4o-mini', messages, tools: [{ type: 'function', function: add }] });
found.calls = tools.choices[0].message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);

const response = await client.responses.create({ model: 'gpt-4o', input: 'Two burgers.' });
found.response = response.output_text;
const kinds = [];
for await (const event of await client.responses.create({ model: 'gpt-4o', input: 'Two burgers.', stream: true })) kinds.push(event.type);
found.responseEvents = [kinds[0], kinds.at(-1)];

const speech = await client.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'Hello there.', response_format: 'wav' });
const wav = Buffer.from(await speech.arrayBuffer());
found.wav = wav.subarray(0, 4).toString('latin1');

const heard = await client.audio.transcriptions.create({ model: 'whisper-1', file: await toFile(wav, 'call.wav') });
found.transcript = heard.text;

found.models = (await client.models.list()).data.length;
found.embedding = (await client.embeddings.create({ model: 'text-embedding-3-small', input: 'x' })).data[0].embedding.length;

try {
  await client.chat.completions.create({ model: 'm', messages: [] });
} catch (error) {
  found.error = [error.constructor.name, error.status, error.code, error.param];
}

const events = [];
const realtime = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client);
await new Promise((resolve, reject) => {
  realtime.on('error', reject);
  realtime.on('event', (event) => {
    events.push(event.type);
    if (event.type === 'session.created') realtime.send({ type: 'response.create' });
    if (event.type === 'response.done') resolve();
  });
});
realtime.close();
found.realtime = [events[0], events.includes('response.output_audio.delta'), events.at(-1)];

console.log(JSON.stringify(found));
