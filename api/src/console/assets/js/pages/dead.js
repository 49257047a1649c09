// Dead letters: jobs that somebody must decide about.

import { h } from '../dom.js';
import { get, post } from '../api.js';
import { when } from '../format.js';
import { button, empty, head, jobLink, kindLink, pager, queueLink, table } from '../ui.js';
import { ask, attempt } from '../dialogs.js';
import { look } from '../store.js';
import * as filters from '../filters.js';
import * as bulk from '../bulk.js';

const path = (id, action) => `v1/admin/dead-letters/${id}/${action}`;

function after(ctx) {
  look();
  ctx.reload();
}

const retry = (ctx, letter) =>
  attempt(() => post(path(letter.id, 'retry')), () => [`${letter.kind} is queued again: `, jobLink(letter.id)]).then(() => after(ctx));

const discard = (ctx, letter) =>
  ask({
    title: 'Discard it?',
    text: [h('p', {}, h('code', {}, letter.kind), ' ', h('code', {}, letter.id)), 'It goes into the history; nothing of it runs any more.'],
    confirm: 'Discard the dead letter',
    danger: true,
    act: async () => { await post(path(letter.id, 'discard')); after(ctx); },
  });

const error = (letter) => letter.failures.at(-1)?.error;

export default {
  name: 'dead',
  title: 'Dead letters',
  every: 4000,
  init: (ctx) => { filters.learnKinds(ctx).then(() => ctx.update()); },
  load: (ctx, signal) => get('v1/admin/dead-letters', { ...filters.wanted(ctx), cursor: ctx.query.get('cursor'), limit: 50 }, signal),
  view: (ctx, page) => [
    head('Dead letters'),
    h('div', { class: 'filters' }, filters.common(ctx), filters.clear(ctx)),
    page.data.length ? bulk.bar(ctx, { path: 'v1/admin/dead-letters/bulk', url: path, actions: ['retry', 'discard'], filter: () => filters.wanted(ctx), noun: 'dead letter' }) : null,
    table('Dead letters', [
      bulk.tickColumn(ctx, page.data),
      { head: 'Job', cell: (l) => jobLink(l.id) },
      { head: 'Kind', cell: (l) => kindLink(l.kind) },
      { head: 'Queue', cell: (l) => queueLink(l.queue) },
      { head: 'Died', cell: (l) => when(l.died_at) },
      { head: 'Attempts', num: true, cell: (l) => `${l.attempt} of ${l.max_attempts}` },
      { head: 'Why', wide: true, cell: (l) => [h('span', { class: 'block' }, l.reason), error(l) ? h('span', { class: 'error-text', title: error(l) }, error(l)) : null] },
      {
        head: 'Actions', cell: (l) => h('div', { class: 'row-actions' },
          button('Retry', () => retry(ctx, l), { kind: 'primary', 'data-act': `retry ${l.id}` }), button('Discard…', () => discard(ctx, l), { kind: 'quiet-danger' })),
      },
    ], page.data, (l) => l.id, ctx.query.size
      ? empty('No dead letter is like that.', h('a', { href: '#/dead' }, 'See all'), '.')
      : empty('No dead letters.', 'Jobs whose attempts are used up come here, and stay until somebody decides.')),
    pager(ctx, page.next_cursor),
  ],
};
