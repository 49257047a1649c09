// Worker processes, and what each is doing.

import { h } from '../dom.js';
import { post } from '../api.js';
import { exact, number, since, when } from '../format.js';
import { button, by, copy, empty, facts, head, jobLink, pill, progress, queueLink, kindLink, table } from '../ui.js';
import { ask, attempt, problemBox, toast } from '../dialogs.js';
import { look, pulse } from '../store.js';

/** How a worker stands. */
const standing = (w) => (w.alive ? pill(w.dry ? 'drained' : w.state, w.dry ? 'quiet, dry' : w.state) : pill('gone', 'gone'));

const path = (w, what) => `v1/admin/system/workers/${w.id}/${what}`;

const quiet = (w) =>
  ask({
    title: `Quiet ${w.host}:${w.pid}?`,
    text: 'It claims no more jobs and takes no more events; what it has in hand it brings to its end. Once it is dry it may be stopped without interrupting anything.',
    confirm: 'Quiet it',
    danger: true,
    act: async () => { await post(path(w, 'quiet')); toast(`${w.host}:${w.pid} takes nothing more.`); look(); },
  });

const resume = (w) => attempt(() => post(path(w, 'resume')), `${w.host}:${w.pid} works again.`).then(look);

/** What an operator may want of one worker, where the API knows of it. */
function wishes(w) {
  if (!w.alive || w.quiet_at === undefined || w.state === 'draining') return null;
  return w.quiet_at ? button('Resume', () => resume(w), { kind: 'primary' }) : button('Quiet…', () => quiet(w));
}

const places = (w) => w.places.map((p) => h('span', { class: 'tag', key: p.queue, title: `started with ${p.configured}` },
  queueLink(p.queue), ` ${number(p.running)} of ${number(p.now)}`, p.now === p.configured ? '' : ` (${number(p.configured)})`));

function worker(ctx, w) {
  const own = pulse.data.queues.flatMap((q) => q.concurrency.filter((c) => c.worker_id === w.id).map((c) => `${q.queue}: ${c.places}`));
  return h('section', { class: `panel worker ${w.alive ? '' : 'gone'}`, key: w.id, 'aria-label': `${w.host} ${w.pid}` },
    h('header', { class: 'panel-head' }, h('h2', {}, `${w.host}:${w.pid}`), standing(w), h('span', { class: 'muted' }, `${w.service} ${w.version}`), copy(w.id), h('div', { class: 'beside' }, wishes(w))),
    facts([
      ['Up', since(w.started_at)], ['Last sign of life', when(w.heartbeat_at)], ['Lease until', when(w.lease_until)],
      ['Holds', `${number(w.jobs)} jobs`], ['Events over', w.event_lane ? `${w.event_lane}${w.event_lane_reason ? ` (${w.event_lane_reason})` : ''}` : null],
      ['Concurrency', own.join(', ')], w.quiet_at && ['Asked to be quiet', exact(w.quiet_at), ' by ', by(w.quiet_by)],
    ]),
    h('p', { class: 'tags' }, w.places?.length ? places(w) : w.queues.length ? w.queues.map((q) => h('span', { class: 'tag', key: q }, queueLink(q))) : h('span', { class: 'muted' }, 'every queue')),
    table(`What ${w.host}:${w.pid} runs`, [
      { head: 'Job', cell: (r) => jobLink(r.id) },
      { head: 'Kind', cell: (r) => kindLink(r.kind) },
      { head: 'Queue', cell: (r) => queueLink(r.queue) },
      { head: 'Attempt', num: true, cell: (r) => r.attempt },
      { head: 'Since', num: true, cell: (r) => since(r.started_at) },
      { head: 'Progress', cell: (r) => progress(r.progress) ?? '–' },
    ], w.running, (r) => r.id, h('p', { class: 'idle' }, w.alive ? 'Idle.' : 'Its jobs are taken over.')),
    w.jobs > w.running.length ? h('p', { class: 'muted' }, `The ${w.running.length} that run longest of ${number(w.jobs)}.`) : null);
}

export default {
  name: 'workers',
  title: 'Workers',
  pulse: true,
  view(ctx) {
    if (!pulse.data) return [head('Workers'), pulse.problem ? problemBox(pulse.problem) : null];
    const all = [...pulse.data.workers].sort((a, b) => Number(b.alive) - Number(a.alive));
    const alive = all.filter((w) => w.alive).length;
    return [
      head('Workers', h('span', { class: 'muted' }, `${alive} alive`)),
      all.length ? h('div', { class: 'workers' }, all.map((w) => worker(ctx, w)))
        : empty('No worker has been seen.', 'Start one with ', h('code', {}, 'waybill-worker'), '; jobs wait until then.'),
    ];
  },
};
