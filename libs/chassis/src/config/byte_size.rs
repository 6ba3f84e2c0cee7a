//! Sizes in bytes as people write them.

use std::{fmt, str::FromStr};

use super::{NotAllowed, text_value};

/// No setting may be larger; far beyond any memory that is meant.
const MAX: u64 = 1 << 40;

/// Largest first, which is how [`ByteSize`] chooses one to be written in.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes: `65536`, `64KiB`, `4MiB`, `1GiB`; at most `1024GiB`. Only powers of 1024, so that nobody has to
/// guess what a `MB` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes, for defaults. More than the most is the most.
    pub const fn bytes(bytes: u64) -> Self {
        Self(if bytes < MAX { bytes } else { MAX })
    }

    /// So many times 1024 bytes, for defaults.
    pub const fn kib(kib: u64) -> Self {
        Self::bytes(kib.saturating_mul(1 << 10))
    }

    /// So many times 1024 × 1024 bytes, for defaults.
    pub const fn mib(mib: u64) -> Self {
        Self::bytes(mib.saturating_mul(1 << 20))
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes, to compare with lengths.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let expected = || NotAllowed::new("expected a number of bytes like 65536, 64KiB, 4MiB or 1GiB");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_bytes = match unit {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?.1,
        };
        if number.is_empty() {
            return Err(expected());
        }
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_bytes));
        bytes.filter(|bytes| *bytes <= MAX).map(Self).ok_or_else(|| NotAllowed::new("expected at most 1024GiB"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

text_value!(ByteSize);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_read_and_written_alike() {
        for (text, bytes) in [("0", 0), ("1000", 1000), ("64KiB", 65_536), ("4MiB", 4_194_304), ("1GiB", 1 << 30)] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size, ByteSize::bytes(bytes));
            assert_eq!(size.to_string(), text);
        }
        assert_eq!("65536".parse::<ByteSize>().unwrap().to_string(), "64KiB");
        assert_eq!(ByteSize::mib(4), ByteSize::kib(4096));
    }

    #[test]
    fn nothing_else_is_a_size() {
        for text in ["", "KiB", "-1", "4MB", "4 MiB", "4mib", "1.5MiB", "4K", "1025GiB", "18446744073709551616"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
