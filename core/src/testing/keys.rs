//! Where a session stands in the store, for tests that no two keys ever stand at one place.

use crate::key::Address;

/// The key of a session's row in sled.
#[must_use]
pub fn store_row(session: &Address) -> Vec<u8> {
    crate::store::sled::row_key(session.as_str())
}
