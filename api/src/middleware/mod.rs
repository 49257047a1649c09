//! What happens to every request, outermost first: [`edge`] (request id, log, metrics, security headers), CORS,
//! [`boundary`] (errors and panics become problems), [`limits`] (rate, size, time), [`backpressure`] (how much work waits).

pub mod backpressure;
pub mod boundary;
mod client;
pub mod cors;
pub mod edge;
pub mod limits;
mod rate;
mod request_id;

pub use self::{client::ClientAddr, request_id::RequestId};
