// Filters of lists. They live in the address, so a filtered list can be kept, shared and gone back to.

import { h } from './dom.js';
import { ago } from './format.js';
import { maybe } from './api.js';
import { pulse } from './store.js';

export const STATES = ['scheduled', 'queued', 'running', 'done', 'cancelled', 'discarded', 'dead'];
const SPANS = [['', 'Any time'], ['900', 'Last 15 minutes'], ['3600', 'Last hour'], ['21600', 'Last 6 hours'], ['86400', 'Last day'], ['604800', 'Last week']];

/** Changes the address's parameters; a changed filter begins at the first page. */
export const set = (ctx, changes) => {
  location.hash = ctx.hash({ cursor: null, ...changes });
};

const labelled = (label, input, kind = '') => h('label', { class: `filter ${kind}` }, h('span', {}, label), input);

export const select = (ctx, name, label, options) =>
  labelled(label, h('select', { name, value: ctx.query.get(name) ?? '', onchange: (e) => set(ctx, { [name]: e.target.value }) },
    options.map(([value, text]) => h('option', { value }, text ?? value))));

export const text = (ctx, name, label, more = {}) =>
  labelled(label, h('input', {
    name, type: 'search', value: ctx.query.get(name) ?? '', spellcheck: 'false', autocomplete: 'off',
    onchange: (e) => set(ctx, { [name]: e.target.value.trim() }), ...more,
  }), more.wide ? 'wide' : '');

// The input's time is this machine's, the address's is UTC.
const local = (iso) => {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? '' : new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};
const instant = (ctx, name, label) =>
  labelled(label, h('input', {
    name, type: 'datetime-local', value: ctx.query.get(name) ? local(ctx.query.get(name)) : '',
    onchange: (e) => set(ctx, { [name]: e.target.value ? new Date(e.target.value).toISOString() : '', last: '' }),
  }));

/** Queue, kind, error text and time, which jobs and dead letters have in common. */
export function common(ctx) {
  const queues = (pulse.data?.queues ?? []).map((q) => [q.queue]);
  const exactly = ctx.query.get('since') || ctx.query.get('until');
  return [
    text(ctx, 'error', 'Error contains', { 'data-search': true, placeholder: 'connection refused', wide: true, maxlength: '200' }),
    text(ctx, 'kind', 'Kind', { list: 'kinds', placeholder: 'any' }),
    select(ctx, 'queue', 'Queue', [['', 'Any queue'], ...queues]),
    h('label', { class: 'filter' }, h('span', {}, 'Time'), h('select', {
      name: 'last', value: exactly ? 'exact' : (ctx.query.get('last') ?? ''),
      onchange: (e) => (e.target.value === 'exact'
        ? set(ctx, { last: '', since: ago(3600) }) : set(ctx, { last: e.target.value, since: '', until: '' })),
    }, SPANS.map(([value, label]) => h('option', { value }, label)), h('option', { value: 'exact' }, 'From, to …'))),
    exactly ? [instant(ctx, 'since', 'From'), instant(ctx, 'until', 'Before')] : null,
    h('datalist', { id: 'kinds' }, (ctx.state.kinds ?? []).map((kind) => h('option', { value: kind }))),
  ];
}

/** Learns the names of kinds for the suggestions. */
export async function learnKinds(ctx) {
  if (ctx.state.kinds) return;
  const kinds = await maybe('v1/admin/system/kinds').catch(() => null);
  ctx.state.kinds = (kinds?.data ?? []).map((kind) => kind.kind);
}

/** The states that are chosen, as boxes to press. */
export function states(ctx, all = STATES) {
  const chosen = new Set((ctx.query.get('state') ?? '').split(',').filter(Boolean));
  return h('div', { class: 'chips', role: 'group', 'aria-label': 'States' }, all.map((state) =>
    h('button', {
      type: 'button', class: `chip ${state}`, 'aria-pressed': String(chosen.has(state)),
      onclick: () => {
        if (!chosen.delete(state)) chosen.add(state);
        set(ctx, { state: all.filter((one) => chosen.has(one)).join(',') });
      },
    }, state)));
}

/** What the address filters by, as the API's parameters. A span is turned into a time now. */
export function wanted(ctx) {
  const of = (name) => ctx.query.get(name) || undefined;
  const last = Number(of('last'));
  return { kind: of('kind'), queue: of('queue'), error: of('error'), since: last ? ago(last) : of('since'), until: of('until') };
}

/** The filter in words. */
export function words(filter) {
  const parts = [
    filter.states?.length && `state ${filter.states.join(' or ')}`, filter.kind && `kind ${filter.kind}`, filter.queue && `queue ${filter.queue}`,
    filter.error && `error contains “${filter.error}”`, filter.correlation_id && `belonging to ${filter.correlation_id}`,
    filter.owner_id && `of user ${filter.owner_id}`, filter.since && `since ${filter.since}`, filter.until && `before ${filter.until}`,
  ].filter(Boolean);
  return parts.length ? parts.join(', ') : 'all';
}

/** Takes every filter away, if there is one. */
export const clear = (ctx) => (ctx.query.size ? h('a', { class: 'button bare', href: `#/${ctx.path}` }, 'Clear') : null);
