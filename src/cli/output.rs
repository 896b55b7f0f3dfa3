// SPDX-License-Identifier: Apache-2.0
//! Writing to standard output, at whose other end a reader may stop early: `vita config get paris / | head`.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Writes all of a text. A reader that has seen enough is no error.
pub(super) fn write(output: &mut dyn Write, text: &str) -> io::Result<()> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A line on standard error; if it is closed, nobody is left to tell, and `eprintln!` would panic.
pub(super) fn complain(line: &dyn Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes, and then fails in one way.
    struct Fails(usize, ErrorKind);

    impl Write for Fails {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(self.1.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_leaves_early_is_no_error_and_a_full_disk_is() {
        assert!(write(&mut Fails(3, ErrorKind::BrokenPipe), "a long text").is_ok());
        assert!(write(&mut Fails(3, ErrorKind::StorageFull), "a long text").is_err());
    }
}
