// Every queue, with what can be done to it.

import { h } from '../dom.js';
import { post } from '../api.js';
import { compact, number, span } from '../format.js';
import { button, head, pill, queueLink, link, spark, table } from '../ui.js';
import { ask, attempt, problemBox, toast } from '../dialogs.js';
import { look, onPulse, pulse, series } from '../store.js';

/** How a queue stands. */
export const queueState = (q) =>
  q.paused
    ? pill(q.dry ? 'drained' : 'paused', q.dry ? 'paused, dry' : q.running ? `paused, ${q.running} running` : 'paused', q.pause_reason || undefined)
    : q.held.length ? pill('held', 'some held', q.held.map((held) => `${held.reason}: ${held.jobs}`).join('\n')) : pill('ok', 'open');

const path = (queue, what) => `v1/admin/system/queues/${encodeURIComponent(queue)}/${what}`;

/** Asks why, and pauses. */
export const pause = (queue) =>
  ask({
    title: `Pause ${queue}?`,
    text: 'Nothing more is claimed from it, by any worker. What runs goes on, and jobs are still accepted.',
    fields: [{ name: 'reason', label: 'Reason, for the others', placeholder: 'the mail server moves', maxlength: 500 }],
    confirm: `Pause ${queue}`,
    danger: true,
    act: async ({ reason }) => {
      await post(path(queue, 'pause'), { reason });
      toast(`${queue} is paused.`);
      look();
    },
  });

export const resume = (queue) => attempt(() => post(path(queue, 'resume')), `${queue} goes on.`).then(look);

/** Pauses, and tells when nothing of it runs any more, on whatever page the operator is then. */
export function drain(queue) {
  return ask({
    title: `Drain ${queue}?`,
    text: 'It is paused, and you are told when nothing of it runs any more.',
    fields: [{ name: 'reason', label: 'Reason, for the others', placeholder: 'deploy', maxlength: 500 }],
    confirm: `Drain ${queue}`,
    danger: true,
    act: async ({ reason }) => {
      const after = await post(path(queue, 'pause'), { reason: reason || 'drain' });
      if (after.dry) {
        toast(`${queue} is dry: nothing of it runs.`);
      } else {
        toast(`${queue} is draining: ${after.running} still run.`);
        const told = new AbortController();
        onPulse(() => {
          const now = pulse.data?.queues.find((q) => q.queue === queue);
          if (now?.paused && !now.dry) return;
          if (now?.dry) toast(`${queue} is dry: nothing of it runs.`);
          told.abort();
        }, told.signal);
      }
      look();
    },
  });
}

export const controls = (q) =>
  q.paused
    ? [button('Resume', () => resume(q.queue), { 'data-act': `resume ${q.queue}`, kind: 'primary' })]
    : [button('Pause…', () => pause(q.queue), { 'data-act': `pause ${q.queue}` }), button('Drain…', () => drain(q.queue), { 'data-act': `drain ${q.queue}` })];

const rate = (r) => `${number(r.jobs)} per ${span(r.per_seconds)}`;

/** A queue's limits in words. */
export function limitWords(limits) {
  return [
    limits.max_running !== null && limits.max_running !== undefined && `${number(limits.max_running)} running`,
    limits.max_per_key && `${number(limits.max_per_key)} per key`,
    limits.rate && rate(limits.rate),
    limits.key_rate && `${rate(limits.key_rate)} and key`,
  ].filter(Boolean).join(', ');
}

export default {
  name: 'queues',
  title: 'Queues',
  pulse: true,
  view() {
    if (!pulse.data) return [head('Queues'), pulse.problem ? problemBox(pulse.problem) : null];
    return [
      head('Queues'),
      table('Queues', [
        { head: 'Queue', cell: (q) => queueLink(q.queue) },
        { head: 'State', cell: (q) => [queueState(q), q.pause_reason ? h('small', { class: 'muted block' }, q.pause_reason) : null] },
        { head: 'Waiting', num: true, cell: (q) => link(`jobs?state=queued&queue=${encodeURIComponent(q.queue)}`, compact(q.queued)) },
        { head: 'Oldest', num: true, cell: (q) => (q.oldest_seconds === null ? '–' : span(q.oldest_seconds)) },
        { head: 'Scheduled', num: true, cell: (q) => link(`jobs?state=scheduled&queue=${encodeURIComponent(q.queue)}`, compact(q.scheduled)) },
        { head: 'Running', num: true, cell: (q) => link(`jobs?state=running&queue=${encodeURIComponent(q.queue)}`, compact(q.running)) },
        { head: 'A second', num: true, cell: (q) => number(q.ended_per_second) },
        { head: 'Dead', num: true, cell: (q) => (q.dead ? link(`dead?queue=${encodeURIComponent(q.queue)}`, compact(q.dead)) : '0') },
        { head: 'Depth', wide: true, cell: (q) => spark(series((l) => l.queues[q.queue]?.queued), `${q.queue}: jobs waiting`, { width: 90, height: 22 }) },
        { head: 'Limits', cell: (q) => limitWords(q.limits) || '–' },
        { head: 'Actions', cell: (q) => h('div', { class: 'row-actions' }, controls(q)) },
      ], pulse.data.queues, (q) => q.queue),
    ];
  },
};
