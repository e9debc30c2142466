//! Interleavings of what runs side by side in one process (P1, P2, P3, P6, P11), tried by shuttle: the journal's writer,
//! sync thread and segments; the flusher clearing dirty marks while appends set them; the durable watermark.
//!
//! Each protocol is a small model of the code that it names, on shuttle's primitives: keep the two in step. Each
//! model can be told to make a mistake, and the search must find every one of them: else it shows nothing.
//! `SCROLLBACK_SHUTTLE` sets how many schedules of each are tried.

#[cfg(test)]
mod durable;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod marks;
#[cfg(test)]
mod search;
