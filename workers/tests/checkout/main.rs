//! The checkout saga against a real database: without trouble, with every trouble that a gateway can make, with workers
//! that die at any moment, and with many buyers at once.

mod crashes;
mod deadlines;
mod fake_gateway;
mod fencing;
mod gateway_events;
mod gateway_trouble;
mod held;
mod housekeeping;
mod journey;
mod partitions;
mod refusals;
mod sandbox;
mod stock_race;
mod world;
