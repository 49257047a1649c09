// Changing many jobs: counted first, named in the question, and no more of them than were named.

import { h } from './dom.js';
import { post } from './api.js';
import { count, number } from './format.js';
import { button } from './ui.js';
import { ask, attempt, toast } from './dialogs.js';
import { words } from './filters.js';
import * as store from './store.js';

/** The most that the API changes in one request. */
const MOST = 10_000;
const PAST = { retry: 'retried', cancel: 'cancelled', discard: 'discarded' };
/** Why some are left alone. */
const SPARED = {
  state: 'run or are over', erased: 'have no arguments left', flow_over: 'are steps of workflows that are over', slot_taken: 'have another in their unique slot',
  undoes_step: 'undo a step', cancel_asked: 'are cancelled already', order_under_way: 'belong to orders that are under way', moved: 'moved meanwhile',
};
const EFFECT = {
  retry: 'Dead ones are queued again with all their attempts, scheduled ones are made due; those that are over are enqueued once more.',
  cancel: 'Those that wait are over at once; those that run are asked to end, and undo what they did if they can.',
  discard: 'They go into the history. Nothing of them runs any more.',
};

const verb = (action) => action[0].toUpperCase() + action.slice(1);

/** Asks about, and then does, `action` to all that `filter` finds at `path`; `noun` is what they are called. */
export async function byFilter(ctx, path, action, filter, noun) {
  // What comes in after the count was not counted, and is left alone.
  const fixed = { ...filter, until: filter.until ?? new Date(Date.now() + 1000).toISOString() };
  let found;
  const well = await attempt(async () => {
    found = await post(path, { action, filter: fixed, limit: MOST, dry_run: true });
  });
  if (!well) return;
  // Older versions of the API do not say what they would leave alone.
  const changeable = found.changeable ?? found.matched;
  const spared = (found.skipped ?? []).map((skipped) => `${number(skipped.jobs)} ${SPARED[skipped.reason] ?? skipped.reason}`).join(', ');
  if (!changeable) {
    toast(found.matched ? `Nothing to ${action}: of ${count(found.matched, noun)}, ${spared}.` : `No ${noun} matches: nothing to ${action}.`);
    return;
  }
  const what = count(changeable, noun);
  const fields = [];
  if (found.changeable !== undefined && action === 'cancel') fields.push({ name: 'reason', label: 'Reason, for their history (no personal data)', maxlength: 500 });
  await ask({
    title: `${verb(action)} ${what}?`,
    text: [h('p', {}, 'Filter: ', h('strong', {}, words(filter)), '.'), EFFECT[action],
      spared ? `Left alone: ${spared}.` : null,
      found.more ? `More than ${number(MOST)} match; these are the newest ${number(MOST)}.` : null].filter(Boolean),
    confirm: `${verb(action)} ${what}`,
    danger: action !== 'retry',
    fields,
    act: async ({ reason }) => {
      const done = await post(path, { action, filter: fixed, limit: found.matched, ...(reason ? { reason } : {}) });
      toast(`${count(done.changed, noun)} ${PAST[action]}.`,
        done.changed < changeable ? ` ${number(changeable - done.changed)} had moved meanwhile, or cannot be.` : '');
    },
  });
  store.look();
  ctx.reload();
}

/** Asks about, and then does, `action` to those that are ticked, one request each. */
export async function ticked(ctx, url, action, noun) {
  const ids = [...ctx.state.ticked];
  const what = count(ids.length, noun);
  await ask({
    title: `${verb(action)} ${what}?`,
    text: EFFECT[action],
    confirm: `${verb(action)} ${what}`,
    danger: action !== 'retry',
    act: async () => {
      const failed = [];
      for (const id of ids) {
        await post(url(id, action)).then(() => ctx.state.ticked.delete(id), (problem) => failed.push(problem));
      }
      toast(`${count(ids.length - failed.length, noun)} ${PAST[action]}.`);
      if (failed.length) throw failed[0];
    },
  });
  store.look();
  ctx.reload();
}

/** The column of boxes to tick. */
export function tickColumn(ctx, rows) {
  const ticks = (ctx.state.ticked ??= new Set());
  const shown = rows.map((row) => row.id);
  for (const id of [...ticks]) if (!shown.includes(id)) ticks.delete(id);
  const all = shown.length > 0 && shown.every((id) => ticks.has(id));
  const toggle = (id, on) => { ticks[on ? 'add' : 'delete'](id); ctx.update(); };
  return {
    box: true,
    label: 'Tick',
    head: h('input', {
      type: 'checkbox', 'aria-label': 'Tick all on this page', checked: all,
      onchange: (e) => { for (const id of shown) ticks[e.target.checked ? 'add' : 'delete'](id); ctx.update(); },
    }),
    cell: (row) => h('input', { type: 'checkbox', 'aria-label': `Tick ${row.kind} ${row.id}`, checked: ticks.has(row.id), onchange: (e) => toggle(row.id, e.target.checked) }),
  };
}

/** What can be done to the ticked, or to all that the filter finds. */
export function bar(ctx, { path, url, actions, filter, noun }) {
  const n = ctx.state.ticked?.size ?? 0;
  return h('div', { class: 'bulk', role: 'group', 'aria-label': 'Change many' },
    h('span', {}, n ? `${number(n)} ticked:` : 'All that match:'),
    actions.map((action) => button(`${verb(action)}…`, () => (n ? ticked(ctx, url, action, noun) : byFilter(ctx, path, action, filter(action), noun)),
      { 'data-act': action, kind: action === 'retry' ? '' : 'quiet-danger' })));
}
