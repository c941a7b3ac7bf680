//! What a source sends: numbered payloads, or a file cut into pieces.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::payload::{Stamp, Writer, now_ns};

/// A supply of payloads.
pub(super) enum Pieces {
    /// Numbered payloads of one length.
    Numbered {
        writer: Writer,
        stream: u32,
        next: u64,
    },
    /// The bytes of a file, nothing added.
    File(File),
}

impl Pieces {
    /// Numbered payloads of `size` bytes.
    pub(super) fn numbered(stream: u32, size: usize) -> Pieces {
        Pieces::Numbered {
            writer: Writer::new(size),
            stream,
            next: 1,
        }
    }

    /// The bytes of the file at `path`.
    pub(super) fn file(path: &Path) -> Result<Pieces, String> {
        File::open(path)
            .map(Pieces::File)
            .map_err(|error| format!("open {}: {error}", path.display()))
    }

    /// Writes the next payload into `buffer` and returns its length; 0 when there is no more.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Pieces::Numbered {
                writer,
                stream,
                next,
            } => {
                let stamp = Stamp {
                    stream: *stream,
                    number: *next,
                    sent_ns: now_ns(),
                };
                *next += 1;
                writer.write(stamp, buffer);
                Ok(buffer.len())
            }
            Pieces::File(file) => read_piece(file, buffer),
        }
    }
}

/// Reads until `buffer` is full or the file ends.
fn read_piece(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
