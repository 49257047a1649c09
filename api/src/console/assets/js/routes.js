// Addresses and pages.

import overview from './pages/overview.js';
import queues from './pages/queues.js';
import queue from './pages/queue.js';
import kinds from './pages/kinds.js';
import workers from './pages/workers.js';
import jobs from './pages/jobs.js';
import job from './pages/job.js';
import dead from './pages/dead.js';
import flows from './pages/flows.js';
import flow from './pages/flow.js';
import schedules from './pages/schedules.js';
import schedule from './pages/schedule.js';
import events from './pages/events.js';
import dependencies from './pages/dependencies.js';
import orders from './pages/orders.js';
import order from './pages/order.js';
import audit from './pages/audit.js';
import { empty, head, link } from './ui.js';

const lost = {
  name: 'lost',
  title: 'Nothing here',
  view: () => [head('Nothing here'), empty('There is no such page.', link('', 'Go to the overview'))],
};

/** The navigation, in groups: the page's name and icon, its title, its path, and the key after `g`. */
export const NAVIGATION = [
  [
    { name: 'overview', title: 'Overview', path: '', key: 'o' },
    { name: 'queues', title: 'Queues', path: 'queues', key: 'q' },
    { name: 'kinds', title: 'Kinds', path: 'kinds', key: 'k' },
    { name: 'workers', title: 'Workers', path: 'workers', key: 'w' },
  ],
  [
    { name: 'jobs', title: 'Jobs', path: 'jobs', key: 'j' },
    { name: 'dead', title: 'Dead letters', path: 'dead', key: 'd' },
    { name: 'flows', title: 'Flows', path: 'flows', key: 'f' },
    { name: 'schedules', title: 'Schedules', path: 'schedules', key: 's' },
  ],
  [
    { name: 'events', title: 'Events', path: 'events', key: 'e' },
    { name: 'dependencies', title: 'Dependencies', path: 'dependencies', key: 'p' },
  ],
  [
    { name: 'orders', title: 'Orders', path: 'orders', key: 'r' },
    { name: 'audit', title: 'Actions', path: 'audit', key: 'a' },
  ],
];

const ROUTES = [
  ['', overview], ['queues', queues], ['queues/:queue', queue], ['kinds', kinds], ['workers', workers],
  ['jobs', jobs], ['jobs/:id', job], ['dead', dead], ['flows', flows], ['flows/:id', flow],
  ['schedules', schedules], ['schedules/:name', schedule], ['events', events], ['dependencies', dependencies],
  ['orders', orders], ['orders/:id', order], ['audit', audit],
];

/** The page of a path, and the parameters in it. */
export function find(path) {
  const given = path.split('/');
  for (const [pattern, page] of ROUTES) {
    const parts = pattern.split('/');
    if (parts.length !== given.length) continue;
    const params = {};
    const fits = parts.every((part, i) => {
      if (!part.startsWith(':')) return part === given[i];
      try {
        params[part.slice(1)] = decodeURIComponent(given[i]);
      } catch {
        return false;
      }
      return given[i] !== '';
    });
    if (fits) return { page, params };
  }
  return { page: lost, params: {} };
}
