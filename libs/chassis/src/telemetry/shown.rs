//! What may be shown of a value that came from outside.

use std::fmt::{self, Write};

/// More of one value than this, in bytes, is not logged: a panic's backtrace fits, and what a foreign client makes
/// megabytes long does not fill the disk.
pub(super) const MAX_VALUE_BYTES: usize = 16 * 1024;

/// Passes on the first [`MAX_VALUE_BYTES`] of what is written to it, and counts the rest.
pub(super) struct Bounded<W> {
    inner: W,
    left: usize,
    left_out: usize,
}

impl<W: Write> Bounded<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, left: MAX_VALUE_BYTES, left_out: 0 }
    }

    /// Says how much was left out, if anything was.
    pub(super) fn end(mut self) -> Result<W, fmt::Error> {
        if self.left_out > 0 {
            write!(self.inner, "… ({} bytes more)", self.left_out)?;
        }
        Ok(self.inner)
    }
}

impl<W: Write> Write for Bounded<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nothing more after the first that did not fit, or it would look as if that had been nothing.
        let fits = if self.left_out > 0 { 0 } else { text.floor_char_boundary(self.left) };
        self.left -= fits;
        self.left_out += text.len() - fits;
        if fits > 0 { self.inner.write_str(&text[..fits]) } else { Ok(()) }
    }
}

/// Whether a character does something to the text around it: control characters, which begin a line or steer a terminal;
/// what Unicode calls line and paragraph separators; and what cannot be seen or turns the direction of writing, so that a
/// line seems to say something else ([Unicode UTR 36](https://www.unicode.org/reports/tr36/)).
pub(super) fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}
