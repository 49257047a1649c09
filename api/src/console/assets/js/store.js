// Queues and workers, which several pages and the navigation show: asked for once, with what was seen in the last minutes.

import { get } from './api.js';
import { poll } from './live.js';

/** Milliseconds between two looks. */
const EVERY = 3000;
/** Looks remembered: ten minutes. */
const KEPT = 200;

export const pulse = { data: null, history: [], problem: null, at: 0 };
const listeners = new Set();
let now = () => {};

/** Begins to look, until `signal` ends. */
export function start(signal) {
  pulse.data = null;
  pulse.history = [];
  now = poll(async (inner) => {
    try {
      const data = await get('v1/admin/system/queues', {}, inner);
      pulse.data = data;
      pulse.at = Date.now();
      pulse.problem = null;
      remember(data);
    } catch (problem) {
      if (inner.aborted) throw problem;
      pulse.problem = problem;
      throw problem;
    } finally {
      for (const tell of listeners) tell();
    }
  }, EVERY, signal);
}

/** Looks again at once, after an action. */
export const look = () => now();

/** Calls `tell` after every look until `signal` ends. */
export function onPulse(tell, signal) {
  listeners.add(tell);
  signal.addEventListener('abort', () => listeners.delete(tell));
}

export const totals = (data) =>
  data.queues.reduce(
    (sum, queue) => ({
      queued: sum.queued + queue.queued,
      scheduled: sum.scheduled + queue.scheduled,
      running: sum.running + queue.running,
      rate: sum.rate + queue.ended_per_second,
      dead: sum.dead + queue.dead,
      oldest: Math.max(sum.oldest, queue.oldest_seconds ?? 0),
      paused: sum.paused + (queue.paused ? 1 : 0),
    }),
    { queued: 0, scheduled: 0, running: 0, rate: 0, dead: 0, oldest: 0, paused: 0 },
  );

function remember(data) {
  const queues = Object.fromEntries(
    data.queues.map((q) => [q.queue, { queued: q.queued, running: q.running, rate: q.ended_per_second, oldest: q.oldest_seconds ?? 0 }]),
  );
  pulse.history.push({ at: Date.now(), outbox: data.outbox_pending, ...totals(data), queues });
  if (pulse.history.length > KEPT) pulse.history.shift();
}

/** What was seen of one number, the oldest first. */
export const series = (pick) => pulse.history.map((look) => ({ at: look.at, value: pick(look) ?? 0 }));
