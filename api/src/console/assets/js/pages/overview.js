// The system at a glance.

import { h } from '../dom.js';
import { get, maybe } from '../api.js';
import { compact, count, number, since, span } from '../format.js';
import { button, empty, head, icon, link, panel, pill, queueLink, spark, table } from '../ui.js';
import { problemBox } from '../dialogs.js';
import { pulse, series, totals } from '../store.js';
import { queueState } from './queues.js';

/** The checks read whole tables: asked for when the page is opened, but not again within a minute, and then every five. */
const CHECKS_EVERY = 300_000;
const CHECKS_KEPT = 60_000;
/** What they said last, also when the page was left meanwhile. */
const seen = {};

async function check(ctx) {
  seen.checking = true;
  ctx.update();
  try {
    seen.checks = await get('v1/admin/system/checks', {}, ctx.signal);
    seen.at = new Date().toISOString();
    seen.problem = null;
  } catch (problem) {
    seen.problem = ctx.signal.aborted ? null : problem;
  }
  seen.checking = false;
  ctx.update();
}

const tile = (name, to, value, note, line, tone = '') =>
  h('a', { class: `tile ${tone}`, href: `#/${to}`, key: name, 'data-tile': name },
    h('span', { class: 'tile-name' }, name), h('strong', {}, value), h('span', { class: 'tile-note' }, note), line ?? null);

function tiles() {
  const data = pulse.data;
  const sum = totals(data);
  const alive = data.workers.filter((w) => w.alive);
  const running = alive.reduce((n, w) => n + w.jobs, 0);
  const broken = seen.checks?.checks.filter((c) => c.always && !c.ok) ?? [];
  const said = seen.checks ? [seen.checks.ok ? 'All hold' : count(broken.length, 'broken', 'broken'), `${since(seen.at)} ago`] : ['…', seen.checking ? 'looking' : ''];
  return h('div', { class: 'tiles' },
    tile('Waiting', 'jobs?state=queued', compact(sum.queued), `oldest ${sum.oldest ? span(sum.oldest) : 'none'}`, spark(series((l) => l.queued), 'Jobs waiting')),
    tile('Running', 'workers', compact(sum.running), `by ${count(alive.length, 'worker')}`, spark(series((l) => l.running), 'Jobs running')),
    tile('Done a second', 'jobs?state=done', number(sum.rate), 'jobs, last 10 s', spark(series((l) => l.rate), 'Jobs ended in a second')),
    tile('Scheduled', 'jobs?state=scheduled', compact(sum.scheduled), 'not due yet'),
    tile('Dead letters', 'dead', compact(sum.dead), sum.dead ? 'to be decided' : 'none', spark(series((l) => l.dead), 'Dead letters'), sum.dead ? 'bad' : ''),
    tile('Outbox', 'events', compact(data.outbox_pending), 'to hand on', spark(series((l) => l.outbox), 'Events in the outbox')),
    tile('Workers', 'workers', number(alive.length), alive.length ? `hold ${count(running, 'job')}` : 'none lives', null, alive.length ? '' : 'bad'),
    tile('Invariants', '', said[0], said[1], null, seen.checks && !seen.checks.ok ? 'bad' : ''));
}

function queues() {
  const rows = pulse.data.queues;
  return panel('Queues', link('queues', 'All, with controls'), table('Queues', [
    { head: 'Queue', cell: (q) => queueLink(q.queue) },
    { head: 'Waiting', num: true, cell: (q) => link(`jobs?state=queued&queue=${encodeURIComponent(q.queue)}`, compact(q.queued)) },
    { head: 'Oldest', num: true, cell: (q) => (q.oldest_seconds === null ? '–' : span(q.oldest_seconds)) },
    { head: 'Running', num: true, cell: (q) => compact(q.running) },
    { head: 'Held', num: true, cell: (q) => compact(q.held.reduce((n, held) => n + held.jobs, 0)) },
    { head: 'A second', num: true, cell: (q) => number(q.ended_per_second) },
    { head: 'Dead', num: true, cell: (q) => (q.dead ? link(`dead?queue=${encodeURIComponent(q.queue)}`, compact(q.dead)) : '0') },
    { head: 'Last minutes', wide: true, cell: (q) => spark(series((l) => l.queues[q.queue]?.rate), `${q.queue}: jobs ended in a second`, { width: 110, height: 22 }) },
    { head: 'State', cell: queueState },
  ], rows, (q) => q.queue));
}

function workers() {
  const rows = pulse.data.workers.filter((w) => w.alive);
  return panel('Workers', link('workers', 'What each runs'), table('Workers', [
    { head: 'Worker', cell: (w) => link('workers', `${w.host}:${w.pid}`) },
    { head: 'State', cell: (w) => pill(w.state) },
    { head: 'Jobs', num: true, cell: (w) => number(w.jobs) },
    { head: 'Up', num: true, cell: (w) => since(w.started_at) },
  ], rows, (w) => w.id, empty('No worker lives.', 'Start one with ', h('code', {}, 'waybill-worker'), '; jobs wait until then.')));
}

function dependencies(list) {
  return panel('Dependencies', link('dependencies', 'Say that one is down'), table('Dependencies', [
    { head: 'Name', cell: (d) => link('dependencies', d.name) },
    { head: 'State', cell: (d) => pill(d.down ? 'down' : 'up') },
    { head: 'Waiting', num: true, cell: (d) => number(d.waiting) },
  ], list, (d) => d.name, empty('Nothing was ever down.', 'What does not answer is noticed by the workers, and shows here.')));
}

function pipelines(list) {
  return panel('Pipelines', link('events', 'Lag and replay'), table('Pipelines', [
    { head: 'Pipeline', cell: (p) => link('events', p.name) },
    { head: 'Behind', num: true, cell: (p) => number(p.at_broker + p.as_jobs) },
    { head: 'Oldest', num: true, cell: (p) => (p.oldest_seconds ? span(p.oldest_seconds) : '–') },
    { head: 'Given up', num: true, cell: (p) => number(p.dead) },
  ], list, (p) => p.name));
}

function admission(system) {
  const says = { bulk: 'Imports', writes: 'Other writes', orders: 'Orders' };
  return panel('Admission', system.backpressure ? null : pill('paused', 'switched off'), table('Admission', [
    { head: 'Requests', cell: (a) => says[a.class] ?? a.class },
    { head: 'State', cell: (a) => (a.admitted ? pill('ok', 'admitted') : pill('down', 'refused')) },
    { head: 'Because of', cell: (a) => (a.queue ? queueLink(a.queue) : '–') },
    { head: 'Retry after', num: true, cell: (a) => (a.retry_after_seconds ? span(a.retry_after_seconds) : '–') },
  ], system.admission, (a) => a.class));
}

function checks(ctx) {
  const { checks: report, problem, checking } = seen;
  return panel('Invariants', button(checking ? 'Looking…' : 'Look again', () => check(ctx), { disabled: checking }),
    problem ? problemBox(problem) : null,
    report ? h('ul', { class: 'checks' }, report.checks.map((c) =>
      h('li', { key: c.name, class: c.ok ? 'good' : c.always ? 'bad' : 'wait', title: c.detail },
        h('i', { 'aria-label': c.ok ? 'holds' : c.always ? 'broken' : 'to do' }, c.ok ? '✓' : c.always ? '✗' : '…'),
        h('span', {}, c.name.replaceAll('_', ' ')), c.ok ? null : h('b', {}, number(c.found))))) : null);
}

export default {
  name: 'overview',
  title: 'Overview',
  pulse: true,
  every: 5000,
  init(ctx) {
    if (!seen.at || Date.now() - Date.parse(seen.at) > CHECKS_KEPT) check(ctx);
    const timer = setInterval(() => !document.hidden && check(ctx), CHECKS_EVERY);
    ctx.signal.addEventListener('abort', () => clearInterval(timer));
  },
  async load(_, signal) {
    const [system, pipes, needs] = await Promise.all([
      get('v1/admin/system', {}, signal), maybe('v1/admin/pipelines', {}, signal), maybe('v1/admin/system/dependencies', {}, signal),
    ]);
    return { system, pipelines: pipes?.data ?? [], dependencies: needs?.data ?? [] };
  },
  view(ctx, data) {
    if (!pulse.data) return [head('Overview'), pulse.problem ? problemBox(pulse.problem) : null];
    const down = data.dependencies.filter((d) => d.down);
    return [
      head('Overview', h('span', { class: 'muted' }, `Waybill ${data.system.version}`)),
      down.map((d) => h('p', { class: 'alarm', key: d.name }, icon('dependencies'), link('dependencies', d.name),
        ` has been down for ${since(d.down_since)}; ${count(d.waiting, 'job')} wait and spend no attempts.`)),
      tiles(),
      queues(),
      h('div', { class: 'columns' }, workers(), pipelines(data.pipelines), dependencies(data.dependencies), admission(data.system)),
      checks(ctx),
    ];
  },
};
