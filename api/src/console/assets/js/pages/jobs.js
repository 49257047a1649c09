// Every job: looked for, and changed one by one or by filter.

import { h } from '../dom.js';
import { get } from '../api.js';
import { between, since, when } from '../format.js';
import { empty, head, holdWords, jobLink, kindLink, pager, pill, queueLink, table } from '../ui.js';
import * as filters from '../filters.js';
import * as bulk from '../bulk.js';

/** States that an action does something to; what is over is only retried by somebody who names its state. */
const TOUCHES = { retry: ['scheduled', 'dead'], cancel: ['scheduled', 'queued', 'running'], discard: ['scheduled', 'queued', 'dead'] };

function filter(ctx, action) {
  const chosen = (ctx.query.get('state') ?? '').split(',').filter(Boolean);
  return {
    ...filters.wanted(ctx), states: chosen.length ? chosen : TOUCHES[action],
    correlation_id: ctx.query.get('correlation_id') || undefined, owner_id: ctx.query.get('owner_id') || undefined,
  };
}

/** How long a job took, or has run, or has waited. */
function took(job) {
  if (job.state === 'running') return since(job.started_at);
  if (job.finished_at && job.started_at) return between(job.started_at, job.finished_at);
  return '–';
}

/** What else is known of how it stands: that its end is asked for, what holds it, why it failed. */
export function remarks(job) {
  return [
    job.undo ? pill('compensating', 'undoes itself') : null,
    job.cancel_asked ? pill('draining', 'asked to end') : null,
    job.held_by ? pill('held', holdWords(job.held_by)) : null,
    job.reason || job.error ? h('span', { class: 'error-text', title: job.reason ?? job.error }, job.reason ?? job.error) : null,
  ];
}

export default {
  name: 'jobs',
  title: 'Jobs',
  every: 4000,
  init: (ctx) => { filters.learnKinds(ctx).then(() => ctx.update()); },
  load: (ctx, signal) => get('v1/admin/jobs', {
    ...filters.wanted(ctx), state: ctx.query.get('state'), correlation_id: ctx.query.get('correlation_id'), owner_id: ctx.query.get('owner_id'),
    cursor: ctx.query.get('cursor'), limit: 50,
  }, signal),
  view(ctx, page) {
    const more = ctx.query.get('correlation_id') || ctx.query.get('owner_id');
    return [
      head('Jobs', h('form', {
        class: 'goto', role: 'search',
        onsubmit: (event) => { event.preventDefault(); location.hash = `#/jobs/${encodeURIComponent(event.target.elements.id.value.trim())}`; },
      }, h('input', { name: 'id', 'aria-label': 'Id of a job', placeholder: 'Go to a job by its id', required: true, autocomplete: 'off' }))),
      filters.states(ctx),
      h('div', { class: 'filters' }, filters.common(ctx),
        h('details', { class: 'filter-more', open: Boolean(more), key: 'more' }, h('summary', {}, 'More'),
          filters.text(ctx, 'correlation_id', 'Belongs to (order, import, …)', { placeholder: 'id' }),
          filters.text(ctx, 'owner_id', 'For user', { placeholder: 'id' })),
        filters.clear(ctx)),
      bulk.bar(ctx, {
        path: 'v1/admin/jobs/bulk', url: (id, action) => `v1/admin/jobs/${id}/${action}`, actions: ['retry', 'cancel', 'discard'],
        filter: (action) => filter(ctx, action), noun: 'job',
      }),
      table('Jobs', [
        bulk.tickColumn(ctx, page.data),
        { head: 'Job', cell: (j) => jobLink(j.id) },
        { head: 'Kind', cell: (j) => kindLink(j.kind) },
        { head: 'Queue', cell: (j) => queueLink(j.queue) },
        { head: 'State', cell: (j) => pill(j.state) },
        { head: 'Attempt', num: true, cell: (j) => `${j.attempt} of ${j.max_attempts}` },
        { head: 'Enqueued', cell: (j) => when(j.created_at) },
        { head: 'Due', cell: (j) => (['scheduled', 'queued'].includes(j.state) ? when(j.run_at) : '–') },
        { head: 'Took', num: true, cell: took },
        { head: 'Remarks', wide: true, cell: remarks },
      ], page.data, (j) => j.id, empty('No job is like that.', ctx.query.size ? ['Take a filter away, or ', h('a', { href: '#/jobs' }, 'see all'), '.'] : 'They appear as soon as something is enqueued.')),
      pager(ctx, page.next_cursor),
    ];
  },
};
