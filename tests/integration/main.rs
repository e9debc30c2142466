//! Workspace tests, in one binary: one link of everything.
//!
//! Each suite's own head says which promises it covers.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod compacting;
#[cfg(test)]
mod console;
#[cfg(test)]
mod control;
#[cfg(test)]
mod discord;
#[cfg(test)]
mod discord_commands;
#[cfg(test)]
mod discord_failures;
#[cfg(test)]
mod discord_missed;
#[cfg(test)]
mod discord_secrets;
#[cfg(test)]
mod discord_stage;
#[cfg(test)]
mod encryption;
#[cfg(test)]
mod erasing;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hazards;
#[cfg(test)]
mod hazards_redis;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod marks;
#[cfg(test)]
mod model;
#[cfg(test)]
mod over_redis;
#[cfg(test)]
mod platforms;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod review;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod stalls;
#[cfg(test)]
mod telegram;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod ttl;
#[cfg(test)]
mod writers;
