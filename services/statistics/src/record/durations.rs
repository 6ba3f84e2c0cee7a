//! Spans of time, counted in buckets: percentiles of any number of them from a few hundred rows.
//!
//! The buckets are log-linear: 32 of equal width between a power of two and the next. So the middle of a
//! bucket is within 1/64 of everything in it, and finding the bucket takes no floating point, which
//! would differ from machine to machine.

/// Buckets between a power of two and the next, as a power of two.
const BITS: u32 = 5;

/// The bucket of a span in microseconds. A negative one counts as none.
pub fn bucket(span_us: i64) -> i64 {
    let span = span_us.max(0) as u64;
    let shift = (u64::BITS - span.leading_zeros()).saturating_sub(BITS + 1);
    (i64::from(shift) << BITS) + (span >> shift) as i64
}

/// The middle of a bucket, in microseconds, rounded down.
pub fn middle_us(bucket: i64) -> i64 {
    let shift = (bucket >> BITS).saturating_sub(1).max(0);
    let first = (bucket - (shift << BITS)) << shift;
    first + ((1 << shift) - 1) / 2
}

/// What at least this many percent of the spans do not exceed: `counts` by ascending middle.
pub(crate) fn percentile(counts: &[(i64, i64)], percent: i64) -> Option<i64> {
    let all: i64 = counts.iter().map(|(_, count)| count).sum();
    let mut up_to_here = 0;
    counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .find(|(_, count)| {
            up_to_here += count;
            up_to_here * 100 >= all * percent
        })
        .map(|(middle_us, _)| *middle_us)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_middle_of_its_bucket_is_near_every_span(span in 0..i64::MAX >> 2, bits in 0..61u32) {
            let span = span >> bits;
            let middle = middle_us(bucket(span));
            prop_assert!((middle - span).abs() as f64 <= span as f64 / 64.0, "{span} {middle}");
            prop_assert_eq!(bucket(middle), bucket(span));
        }

        #[test]
        fn longer_spans_have_later_buckets(one in 0..1i64 << 52, other in 0..1i64 << 52) {
            prop_assert!(one > other || bucket(one) <= bucket(other));
        }
    }

    #[test]
    fn percentiles_are_the_least_span_that_so_many_do_not_exceed() {
        let counts = [(10, 94), (20, 0), (30, 1), (40, 5)];
        assert_eq!(percentile(&counts, 50), Some(10));
        assert_eq!(percentile(&counts, 95), Some(30));
        assert_eq!(percentile(&counts, 99), Some(40));
        assert_eq!(percentile(&[], 50), None);
    }
}
