// One job: its arguments, attempts, lines and result, as they come.

import { h } from '../dom.js';
import { get, maybe, post } from '../api.js';
import { follow } from '../live.js';
import { between, clock, exact, number, plain, since, when } from '../format.js';
import { button, copy, empty, facts, head, jobLink, json, kindLink, link, panel, pill, progress, queueLink } from '../ui.js';
import { ask, attempt, toast } from '../dialogs.js';
import { look } from '../store.js';
import { remarks } from './jobs.js';

const OVER = ['done', 'cancelled', 'discarded'];
const LEVELS = ['debug', 'info', 'warn', 'error'];
/** Pages of lines of 100 each: a job keeps its first 1,000. */
const LOG_PAGES = 10;

/** Why a job that could run does not. */
const WAITS = {
  not_due: 'its time', queue_paused: 'its queue, which is paused', kind_paused: 'its kind, which is paused', dependency_down: 'something outside that is down',
  partition: 'another job of its key', key_limit: 'the limit of its key', queue_limit: 'the limit of its queue', no_worker: 'a worker that serves its queue',
  unknown: 'a worker of another release', suspect: 'the jobs that are tried before it, one at a time', turn: 'its turn',
};

function waits(list) {
  return panel('Waits for', null, h('ul', { class: 'waits' }, list.map((w) =>
    h('li', { key: w.reason }, h('b', {}, WAITS[w.reason] ?? plain(w.reason ?? w)), w.detail ? ` (${w.detail})` : '',
      w.job_id ? [': ', jobLink(w.job_id)] : '', w.ahead ? `, ${number(w.ahead)} in front` : '', w.until ? [', until ', exact(w.until)] : ''))));
}

const path = (ctx, what = '') => `v1/admin/jobs/${encodeURIComponent(ctx.params.id)}${what}`;

async function readLogs(ctx, signal) {
  // Pages that are full never change: only the last is asked for again.
  const pages = (ctx.state.pages ??= [{ cursor: undefined, data: [] }]);
  while (pages.length <= LOG_PAGES) {
    const page = await maybe(`v1/jobs/${encodeURIComponent(ctx.params.id)}/logs`, { cursor: pages.at(-1).cursor, limit: 100 }, signal);
    pages.at(-1).data = page?.data ?? [];
    if (!page?.next_cursor) break;
    pages.push({ cursor: page.next_cursor, data: [] });
  }
}

function act(ctx, job, action) {
  const over = OVER.includes(job.state);
  const title = { retry: over ? 'Enqueue it once more?' : 'Retry it?', cancel: 'Cancel it?', discard: 'Discard it?' }[action];
  const text = {
    retry: over ? 'A new job of the same kind with the same arguments.' : job.state === 'dead' ? 'It is queued again under its id, with all its attempts.' : 'It is made due at once.',
    cancel: job.state === 'running' ? 'It is asked to end, and undoes what it did if its kind can.' : 'It is over at once.',
    discard: 'It goes into the history; nothing of it runs any more, not even compensation.',
  }[action];
  return ask({
    title, text: [h('p', {}, h('code', {}, job.kind), ' ', h('code', {}, job.id)), text],
    fields: action === 'cancel' ? [{ name: 'reason', label: 'Reason, for its history (no personal data)', maxlength: 500 }] : [],
    confirm: { retry: 'Retry', cancel: 'Cancel the job', discard: 'Discard the job' }[action],
    danger: action !== 'retry',
    act: async (values) => {
      const after = await post(path(ctx, `/${action}`), action === 'cancel' ? { reason: values.reason } : {});
      if (after && after.id !== job.id) toast('Enqueued as ', jobLink(after.id), '.');
      else toast({ retry: 'It is queued.', cancel: 'It is cancelled, or asked to end.', discard: 'It is discarded.' }[action]);
      look();
      watch(ctx);
      ctx.reload();
    },
  });
}

function watch(ctx) {
  ctx.state.following?.abort();
  const mine = (ctx.state.following = new AbortController());
  follow(`v1/jobs/${encodeURIComponent(ctx.params.id)}/events`, ({ event }) => {
    // What it says may be less than an operator sees; it tells that there is news.
    if (event !== 'log') ctx.reload();
    else if (!ctx.state.soon) ctx.state.soon = setTimeout(() => { ctx.state.soon = null; ctx.reload(); }, 500);
  }, AbortSignal.any([mine.signal, ctx.signal]));
}

function attempts(job) {
  const rows = job.failures.map((f, i) => ({ ...f, place: i }));
  if (job.started_at && !rows.some((f) => f.started_at === job.started_at) && job.state !== 'dead') {
    rows.push({ attempt: job.attempt, outcome: OVER.includes(job.state) || job.state === 'running' ? job.state : 'ended', started_at: job.started_at, finished_at: job.finished_at, place: 'now' });
  }
  return panel('Attempts', `${job.attempt} of ${job.max_attempts}${job.snoozes ? `, snoozed ${job.snoozes} times` : ''}`, rows.length
    ? h('ol', { class: 'attempts' }, rows.reverse().map((f) =>
      h('li', { key: `${f.place}` },
        h('div', { class: 'attempt-head' }, h('b', {}, `#${f.attempt}`), pill(f.outcome), h('span', {}, exact(f.started_at ?? f.finished_at)),
          h('span', { class: 'muted' }, f.finished_at ? `took ${between(f.started_at, f.finished_at)}` : f.started_at ? `for ${since(f.started_at)}` : '')),
        f.error ? h('pre', { class: 'error', tabindex: '0' }, f.error) : null)))
    : empty('Not begun yet.', job.state === 'scheduled' ? ['It is due ', when(job.run_at), '.'] : 'A worker will claim it.'));
}

function logs(ctx) {
  const lines = (ctx.state.pages ?? []).flatMap((page) => page.data);
  const least = ctx.state.level ?? 'debug';
  const shown = lines.filter((line) => LEVELS.indexOf(line.level) >= LEVELS.indexOf(least));
  return panel('Lines', lines.length ? h('select', { 'aria-label': 'Least level', value: least, onchange: (e) => { ctx.state.level = e.target.value; ctx.update(); } },
    LEVELS.map((level) => h('option', { value: level }, level))) : null,
  shown.length ? h('ol', { class: 'log', tabindex: '0', role: 'log', 'aria-label': 'Lines' }, shown.map((line, i) =>
    h('li', { key: `${line.at} ${i}`, class: line.level }, clock(line.at), h('b', {}, line.level), h('span', {}, line.line), h('small', { class: 'muted' }, `#${line.attempt}`))))
    : empty(lines.length ? 'No line of that level.' : 'No lines.', lines.length ? '' : 'What its handler writes for its owner comes here.'));
}

export default {
  name: 'job',
  title: 'Job',
  every: 5000,
  init: watch,
  async load(ctx, signal) {
    const job = await get(path(ctx), {}, signal);
    const last = ctx.state.lastState;
    // A job that is over writes no more: its lines are read once more, and then left.
    if (!(OVER.includes(job.state) && last === job.state)) await readLogs(ctx, signal);
    ctx.state.lastState = job.state;
    return job;
  },
  view(ctx, job) {
    const live = ['scheduled', 'queued', 'running'].includes(job.state);
    const can = {
      retry: job.state !== 'running' && job.state !== 'queued', cancel: live, discard: ['scheduled', 'queued', 'dead'].includes(job.state),
    };
    const labels = { retry: OVER.includes(job.state) ? 'Run again…' : 'Retry…', cancel: 'Cancel…', discard: 'Discard…' };
    return [
      head([h('span', { class: 'crumb' }, link('jobs', 'Jobs'), ' / '), job.kind], pill(job.state),
        Object.keys(can).filter((a) => can[a]).map((a) => button(labels[a], () => act(ctx, job, a), { 'data-act': a, kind: a === 'retry' ? 'primary' : 'quiet-danger' }))),
      h('p', { class: 'idline' }, h('code', {}, job.id), copy(job.id), remarks(job)),
      job.progress !== null && job.progress !== undefined ? panel('Progress', null, h('div', { class: 'big-progress' }, progress(job.progress)), typeof job.progress === 'object' ? json(job.progress) : null) : null,
      job.waits_for?.length ? waits([job.waits_for].flat()) : null,
      h('div', { class: 'columns' },
        panel('Facts', null, facts([
          ['Queue', queueLink(job.queue)], ['Kind', kindLink(job.kind)], ['Enqueued', exact(job.created_at)], ['Due', exact(job.run_at)],
          job.started_at && ['Newest attempt', exact(job.started_at)], job.finished_at && ['Over', exact(job.finished_at)],
          job.finished_at && job.started_at && ['Took', between(job.started_at, job.finished_at)],
          ['Priority', number(job.priority)], ['Worker', job.worker_id && link('workers', h('code', {}, `…${job.worker_id.slice(-8)}`))],
          job.correlation_id && ['Belongs to', link(`jobs?correlation_id=${job.correlation_id}`, 'its other jobs'), ' · ', link(`orders/${job.correlation_id}`, 'as an order')],
          ['Caused by', job.causation_id && jobLink(job.causation_id)], ['For user', job.owner_id && h('code', {}, job.owner_id)],
          ['One at a time with', job.partition_key && h('code', {}, job.partition_key)], ['Limited with', job.limit_key && h('code', {}, job.limit_key)],
          ['Part of', job.flow_id && link(`flows/${job.flow_id}`, job.step ?? 'a batch')], ['Unique as', job.unique_key && h('code', {}, job.unique_key)],
          job.schedule && ['Schedule', link(`schedules/${encodeURIComponent(job.schedule)}`, job.schedule), job.scheduled_for ? [', for ', exact(job.scheduled_for)] : ''],
          ['Trace', job.traceparent && h('code', {}, job.traceparent)],
        ])),
        panel('Arguments', null, json(job.arguments))),
      job.result !== null && job.result !== undefined ? panel('Result', null, json(job.result)) : null,
      attempts(job),
      logs(ctx),
    ];
  },
};
