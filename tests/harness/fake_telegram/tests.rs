//! Facts about the fake, seen through plain HTTP as a client sees them.

mod client;
mod polling;
mod texts;
mod webhooks;
mod worlds;
