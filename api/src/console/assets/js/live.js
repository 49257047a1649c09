// Staying up to date: polling that rests while nobody looks, and streams of server-sent events.

import { call } from './api.js';

/** The longest pause after failures, in milliseconds. */
const LONGEST = 30_000;

const resting = () => document.hidden || localStorage.getItem('waybill.live') === 'off';

/** Whether pages follow what happens. */
export const isLive = () => localStorage.getItem('waybill.live') !== 'off';

export function setLive(on) {
  if (on) localStorage.removeItem('waybill.live');
  else localStorage.setItem('waybill.live', 'off');
  document.dispatchEvent(new Event('visibilitychange'));
}

/** Does `work(signal)` now and every `every` milliseconds until `signal` ends; answers with a function that does it at once. */
export function poll(work, every, signal) {
  let timer;
  let running = null;
  let failures = 0;

  async function run(asked) {
    clearTimeout(timer);
    // What an action asks for must not be answered by what was on its way before it.
    if (running && !asked) return;
    running?.abort();
    const mine = (running = new AbortController());
    let pause = every;
    try {
      await work(AbortSignal.any([mine.signal, signal]));
      failures = 0;
    } catch (problem) {
      if (running !== mine) return;
      failures += 1;
      pause = Math.max(Math.min(LONGEST, (every || 3000) * 2 ** failures), (problem.retryAfter ?? 0) * 1000);
    }
    if (running !== mine) return;
    running = null;
    if (!signal.aborted && (every || failures) && !resting()) timer = setTimeout(run, pause);
  }

  const wake = () => {
    if (!resting() && every) run();
    else clearTimeout(timer);
  };
  document.addEventListener('visibilitychange', wake, { signal });
  signal.addEventListener('abort', () => clearTimeout(timer));
  run();
  return () => run(true);
}

/** Follows a stream of events until it ends, or `signal` does. `tell({ event, data, id })` gets each. */
export async function follow(path, tell, signal) {
  let last;
  for (;;) {
    if (resting()) {
      await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true, signal }));
      if (signal.aborted) return;
      continue;
    }
    const shown = new AbortController();
    const hide = () => resting() && shown.abort();
    document.addEventListener('visibilitychange', hide, { signal });
    try {
      const response = await call('GET', path, {
        accept: 'text/event-stream',
        more: last ? { 'last-event-id': last } : {},
        signal: AbortSignal.any([signal, shown.signal]),
      });
      if (response.status === 204) return;
      for await (const event of frames(response.body)) {
        last = event.id ?? last;
        tell(event);
      }
      if (last === 'over') return;
    } catch (problem) {
      // Too many streams, or none of the kind: whoever called goes on by asking.
      if (signal.aborted || problem.status >= 400) return;
    } finally {
      document.removeEventListener('visibilitychange', hide);
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (signal.aborted) return;
  }
}

async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf('\n\n')) >= 0) {
      const frame = { event: 'message', data: '' };
      for (const line of text.slice(0, end).split('\n')) {
        const [, name, rest] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
        if (name === 'data') frame.data += frame.data ? `\n${rest}` : rest;
        else if (name) frame[name] = rest;
      }
      text = text.slice(end + 2);
      if (frame.data) yield frame;
    }
  }
}
