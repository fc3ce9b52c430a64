//! Any bytes, cut anywhere, say the same at the same place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wsplice::frame::{FrameHeader, HeaderError, Scanner};

type Event = (usize, Result<FrameHeader, HeaderError>);

/// What the scanner says of `pieces`, each time with the position in the stream.
fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, Scanner) {
    let (mut scanner, mut events, mut end) = (Scanner::new(), Vec::new(), 0);
    for mut input in pieces {
        end += input.len();
        while let Some(event) = scanner.next(&mut input).transpose() {
            events.push((end - input.len(), event));
            if event.is_err() {
                return (events, scanner);
            }
        }
        assert!(input.is_empty(), "None means used up");
    }
    (events, scanner)
}

fuzz_target!(|input: (Vec<u8>, &[u8])| {
    let (lengths, stream) = input;

    let mut rest = stream;
    let mut lengths = lengths.into_iter();
    let pieces = std::iter::from_fn(|| {
        let len = lengths.next().map_or(rest.len(), usize::from);
        let (piece, after) = rest.split_at(len.min(rest.len()));
        rest = after;
        (!piece.is_empty() || !rest.is_empty()).then_some(piece)
    });

    let (cut, cut_end) = scan(pieces);
    let (whole, whole_end) = scan([stream].into_iter());
    assert_eq!(cut, whole);
    assert_eq!(cut_end.at_boundary(), whole_end.at_boundary());
    assert_eq!(cut_end.remaining(), whole_end.remaining());
    assert_eq!(cut_end.cut_header(), whole_end.cut_header());
});
