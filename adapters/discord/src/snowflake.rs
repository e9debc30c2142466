//! Discord's ids: 64 bits that start with the time of their making. Knows nothing else.

use std::num::NonZeroU64;

/// Milliseconds from the Unix epoch to the first snowflake: the start of 2015.
const EPOCH_MS: u64 = 1_420_070_400_000;

/// When a snowflake was made, milliseconds since the Unix epoch.
pub(crate) const fn made_at_ms(id: u64) -> u64 {
    (id >> 22) + EPOCH_MS
}

/// The id in serenity's types, which cannot hold 0; no snowflake is.
pub(crate) fn typed<T: From<NonZeroU64>>(id: u64) -> T {
    T::from(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN))
}

/// The id in a JSON value: a string of digits, or a number.
pub(crate) fn in_json(value: &serde_json::Value) -> Option<u64> {
    let id = match value {
        serde_json::Value::String(digits) => digits.parse().ok(),
        number => number.as_u64(),
    };
    id.filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_snowflake_tells_its_time() {
        // The example of Discord's reference.
        assert_eq!(made_at_ms(175_928_847_299_117_063), 1_462_015_105_796);
    }

    #[test]
    fn only_an_id_is_read_as_one() {
        assert_eq!(
            in_json(&json!("81384788765712384")),
            Some(81_384_788_765_712_384)
        );
        for none in [
            json!("0"),
            json!(0),
            json!(-1),
            json!("x"),
            json!(null),
            json!({}),
        ] {
            assert_eq!(in_json(&none), None, "{none}");
        }
    }
}
