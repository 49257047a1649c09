// One queue: what is in it, what holds it back, and what it is limited to.

import { h } from '../dom.js';
import { get, put } from '../api.js';
import { compact, exact, number, span } from '../format.js';
import { button, by, empty, facts, head, holdWords, link, panel, spark, table } from '../ui.js';
import { ask, attempt, toast } from '../dialogs.js';
import { look, pulse, series } from '../store.js';
import { controls, limitWords, queueState } from './queues.js';

const path = (queue, what) => `v1/admin/system/queues/${encodeURIComponent(queue)}${what}`;

function rateFields(name, label, rate) {
  return [
    { name: `${name}_jobs`, label, type: 'number', min: 1, value: rate?.jobs, size: 'third' },
    { name: `${name}_per`, label: 'in so many seconds', type: 'number', min: 0.001, step: 'any', value: rate?.per_seconds, size: 'third' },
    { name: `${name}_burst`, label: 'at once after a rest', type: 'number', min: 1, value: rate?.burst, size: 'third', placeholder: 'as many' },
  ];
}

// A rate needs both its numbers; half a one is refused by the API, which names the field.
const rate = (values, name) =>
  values[`${name}_jobs`] === null && values[`${name}_per`] === null
    ? null
    : { jobs: values[`${name}_jobs`], per_seconds: values[`${name}_per`], burst: values[`${name}_burst`] };

function limits(ctx, q) {
  const l = q.limits;
  return ask({
    title: `Limits of ${q.queue}`,
    text: 'Over all workers, from the next claim on. What is left empty is not limited.',
    fields: [
      { name: 'max_running', label: 'Running at a time', type: 'number', min: 0, value: l.max_running, placeholder: 'no limit; 0 lets none run', size: 'half' },
      { name: 'max_per_key', label: '… of one key', type: 'number', min: 1, value: l.max_per_key, placeholder: 'no limit', size: 'half' },
      ...rateFields('rate', 'All: starts', l.rate), ...rateFields('key_rate', 'One key: starts', l.key_rate),
    ],
    confirm: 'Set limits',
    act: async (values) => {
      await put(path(q.queue, '/limits'), {
        max_running: values.max_running, max_per_key: values.max_per_key, rate: rate(values, 'rate'), key_rate: rate(values, 'key_rate'),
      });
      toast(`The limits of ${q.queue} count from now on.`);
      after(ctx);
    },
  });
}

function after(ctx) {
  look();
  ctx.reload();
}

function concurrency(ctx, q, worker) {
  const workers = (pulse.data?.workers ?? []).filter((w) => w.alive && (w.queues.includes(q.queue) || !w.queues.length));
  const set = q.concurrency.find((c) => c.worker_id === (worker ?? null));
  return ask({
    title: `Concurrency of ${q.queue}`,
    text: 'How many of its jobs a worker runs at a time. Workers follow within about a second; what runs goes on to its end.',
    fields: [
      { name: 'worker', label: 'In', value: worker ?? '', options: [['', 'every worker'], ...workers.map((w) => [w.id, `${w.host}:${w.pid}`])] },
      { name: 'places', label: 'Jobs at a time', type: 'number', min: 0, max: 10000, value: set?.places, hint: 'Empty: as the worker was started.' },
    ],
    confirm: 'Set concurrency',
    act: async (values) => {
      await put(path(q.queue, '/concurrency'), { places: values.places, worker_id: values.worker || null });
      toast(`The concurrency of ${q.queue} is set.`);
      after(ctx);
    },
  });
}

const reset = (ctx, q, c) =>
  attempt(() => put(path(q.queue, '/concurrency'), { places: null, worker_id: c.worker_id }), 'Back to how the workers were started.').then(() => after(ctx));

const nameOf = (id) => {
  const worker = pulse.data?.workers.find((w) => w.id === id);
  return worker ? `${worker.host}:${worker.pid}` : id;
};

function chart(label, pick, unit) {
  const points = series(pick);
  const last = points.at(-1)?.value ?? 0;
  return h('figure', { class: 'chart' }, h('figcaption', {}, label, h('b', {}, unit(last))), spark(points, label, { width: 400, height: 70 }));
}

export default {
  name: 'queue',
  title: 'Queue',
  pulse: true,
  every: 3000,
  load: (ctx, signal) => get(path(ctx.params.queue, ''), {}, signal),
  view(ctx, q) {
    const name = q.queue;
    const jobs = (state) => link(`jobs?state=${state}&queue=${encodeURIComponent(name)}`, compact(q[state]));
    return [
      head([h('span', { class: 'crumb' }, link('queues', 'Queues'), ' / '), name], queueState(q), controls(q),
        button('Limits…', () => limits(ctx, q)), button('Concurrency…', () => concurrency(ctx, q))),
      q.paused ? h('p', { class: 'alarm' }, 'Paused by ', by(q.paused_by), ' at ', exact(q.paused_at),
        q.pause_reason ? `: ${q.pause_reason}` : '', q.dry ? '. Nothing of it runs.' : `. ${number(q.running)} still run.`) : null,
      h('div', { class: 'columns' },
        panel('Now', null, facts([
          ['Waiting', jobs('queued')], ['Oldest', q.oldest_seconds === null ? 'none' : span(q.oldest_seconds)], ['Running', jobs('running')],
          ['Scheduled', jobs('scheduled')], ['Dead letters', link(`dead?queue=${encodeURIComponent(name)}`, compact(q.dead))],
          ['Ended a second', number(q.ended_per_second)], ['Limits', limitWords(q.limits) || 'none'],
          ['Limits set by', q.limits_by === 'code' ? 'the program' : q.limits_by],
        ])),
        panel('Last minutes', null,
          chart('Waiting', (l) => l.queues[name]?.queued, compact), chart('Ended a second', (l) => l.queues[name]?.rate, number),
          chart('Running', (l) => l.queues[name]?.running, compact))),
      h('div', { class: 'columns' },
        panel('Held back', null, table('Held back', [
          { head: 'By', cell: (held) => h('span', { title: held.reason }, holdWords(held.reason)) }, { head: 'Jobs', num: true, cell: (held) => number(held.jobs) },
        ], q.held, (held) => held.reason, empty('Nothing is held back.', 'Limits, paused kinds, order by key and what is down would show here.'))),
        panel('Concurrency', null, table('Concurrency', [
          { head: 'In', cell: (c) => (c.worker_id ? nameOf(c.worker_id) : 'every worker') },
          { head: 'Jobs at a time', num: true, cell: (c) => number(c.places) },
          { head: 'Set by', cell: (c) => by(c.set_by) },
          { head: '', cell: (c) => h('div', { class: 'row-actions' }, button('Change…', () => concurrency(ctx, q, c.worker_id)), button('Default', () => reset(ctx, q, c))) },
        ], q.concurrency, (c) => c.worker_id ?? 'all', empty('As the workers were started.', 'Set another number while they run with ', h('b', {}, 'Concurrency…'), '.')))),
    ];
  },
};
