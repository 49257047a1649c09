// Kinds of jobs: which there are, and holding one back in whatever queue it is.

import { h } from '../dom.js';
import { get, post } from '../api.js';
import { exact, number } from '../format.js';
import { button, by, head, kindLink, link, pill, queueLink, table } from '../ui.js';
import { ask, attempt, toast } from '../dialogs.js';

const path = (kind, what) => `v1/admin/system/kinds/${encodeURIComponent(kind)}/${what}`;

const pause = (ctx, kind) =>
  ask({
    title: `Pause ${kind}?`,
    text: 'None of its jobs is claimed, in whatever queue. What runs goes on, and jobs are still accepted.',
    fields: [{ name: 'reason', label: 'Reason, for the others', placeholder: 'bad release', maxlength: 500 }],
    confirm: `Pause ${kind}`,
    danger: true,
    act: async ({ reason }) => {
      await post(path(kind, 'pause'), { reason });
      toast(`${kind} is paused.`);
      ctx.reload();
    },
  });

const resume = (ctx, kind) => attempt(() => post(path(kind, 'resume')), `${kind} goes on.`).then(() => ctx.reload());

export default {
  name: 'kinds',
  title: 'Kinds',
  every: 5000,
  load: async (_, signal) => (await get('v1/admin/system/kinds', {}, signal)).data,
  view: (ctx, kinds) => [
    head('Kinds'),
    table('Kinds', [
      { head: 'Kind', cell: (k) => kindLink(k.kind) },
      { head: 'Queue', cell: (k) => (k.queue ? queueLink(k.queue) : h('span', { class: 'muted', title: 'Jobs of it are here, but this version does not know it' }, 'unknown here')) },
      { head: 'Version', num: true, cell: (k) => number(k.version) },
      { head: 'Attempts', num: true, cell: (k) => number(k.max_attempts) },
      ...(kinds.some((k) => k.running !== undefined) ? [{ head: 'Running', num: true, cell: (k) => number(k.running) }] : []),
      { head: 'Undoes itself', cell: (k) => (k.compensates ? 'yes' : '–') },
      { head: 'Owner may cancel', cell: (k) => (k.owner_cancels ? 'yes' : '–') },
      {
        head: 'State', cell: (k) => (k.paused
          ? [pill(k.dry ? 'drained' : 'paused', k.dry ? 'paused, dry' : 'paused'), h('small', { class: 'muted block' }, by(k.paused_by), ' ', exact(k.paused_at), k.pause_reason ? `: ${k.pause_reason}` : '')]
          : pill('ok', 'open')),
      },
      {
        head: 'Actions', cell: (k) => h('div', { class: 'row-actions' },
          k.paused ? button('Resume', () => resume(ctx, k.kind), { kind: 'primary' }) : button('Pause…', () => pause(ctx, k.kind)),
          link(`dead?kind=${encodeURIComponent(k.kind)}`, 'Dead')),
      },
    ], kinds, (k) => k.kind),
  ],
};
