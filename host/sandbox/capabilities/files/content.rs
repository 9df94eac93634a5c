//! What a file holds, in pieces: to lengthen a file copies no more than its last piece, and what nobody wrote is not kept. Pure.

use std::mem;

/// Bytes of a piece.
const PIECE_BYTES: usize = 64 * 1024;

/// The last piece of a file grows by so many bytes, or doubles as long as it has fewer.
const STEP_BYTES: usize = 4096;

/// What is read where nobody wrote.
static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// The bytes of a file.
#[derive(Default)]
pub(super) struct Content {
    /// All but the last have as many bytes as fit in; the last may have more than the file, and these are zeros. One without
    /// bytes was never written.
    pieces: Vec<Box<[u8]>>,
    len: usize,
}

/// The bytes that a file of some length takes.
pub(super) fn room(len: usize) -> usize {
    let last = len % PIECE_BYTES;
    (len - last).saturating_add(room_of_last(last))
}

fn room_of_last(len: usize) -> usize {
    match len {
        0 => 0,
        1..STEP_BYTES => len.next_power_of_two(),
        _ => len.next_multiple_of(STEP_BYTES),
    }
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Cuts it off, or lengthens it with zeros.
    pub(super) fn resize(&mut self, len: usize) {
        let shorter = len < self.len;
        if !shorter {
            // No longer the last one, it may have to be as large as all others.
            self.fit_last(len);
        }
        self.pieces.resize_with(len.div_ceil(PIECE_BYTES), Box::default);
        self.len = len;
        if shorter {
            self.fit_last(len);
        }
    }

    /// Gives the last piece the size that it has in a file of this length, and zeros beyond the length.
    fn fit_last(&mut self, len: usize) {
        let Some(last) = self.pieces.len().checked_sub(1) else {
            return;
        };
        let here = (len - last * PIECE_BYTES).min(PIECE_BYTES);
        let room = room_of_last(here % PIECE_BYTES).max(if here == PIECE_BYTES { PIECE_BYTES } else { 0 });
        let piece = &mut self.pieces[last];
        if piece.is_empty() {
            return;
        }
        let mut bytes = mem::take(piece).into_vec();
        bytes.truncate(here);
        bytes.reserve_exact(room - bytes.len());
        bytes.resize(room, 0);
        *piece = bytes.into_boxed_slice();
    }

    /// Writes over what is there. All of it has to lie within the length.
    pub(super) fn write(&mut self, mut begin: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (number, offset) = (begin / PIECE_BYTES, begin % PIECE_BYTES);
            let room = room(self.len - number * PIECE_BYTES).min(PIECE_BYTES);
            let Some(piece) = self.pieces.get_mut(number) else {
                return;
            };
            if piece.is_empty() {
                *piece = vec![0; room].into_boxed_slice();
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - offset));
            piece[offset..offset + now.len()].copy_from_slice(now);
            (begin, bytes) = (begin + now.len(), later);
        }
    }

    /// Up to so many bytes from some place on; none at its end.
    pub(super) fn read(&self, begin: usize, most: usize) -> Vec<u8> {
        let end = begin.saturating_add(most).min(self.len);
        let mut read = Vec::with_capacity(end.saturating_sub(begin));
        let mut at = begin;
        while at < end {
            let (number, offset) = (at / PIECE_BYTES, at % PIECE_BYTES);
            let upto = (offset + end - at).min(PIECE_BYTES);
            let piece = self.pieces.get(number).filter(|piece| !piece.is_empty());
            read.extend_from_slice(&piece.map_or(&ZEROS[..], |piece| piece)[offset..upto]);
            at += upto - offset;
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does with a file, and with plain bytes, what chance says.
    #[test]
    fn it_holds_what_plain_bytes_would() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut content, mut plain) = (Content::default(), Vec::new());
        for step in 0..2000 {
            let near = [
                0,
                1,
                4095,
                4096,
                4097,
                PIECE_BYTES - 1,
                PIECE_BYTES,
                PIECE_BYTES + 1,
                3 * PIECE_BYTES,
            ];
            let place = near[random.usize(..near.len())] + random.usize(..3);
            if random.bool() {
                content.resize(place);
                plain.resize(place, 0);
            } else {
                let bytes = vec![random.u8(1..); random.usize(..PIECE_BYTES * 2)];
                let end = place + bytes.len();
                if end > plain.len() {
                    content.resize(end);
                    plain.resize(end, 0);
                }
                content.write(place, &bytes);
                plain[place..end].copy_from_slice(&bytes);
            }
            let begin = random.usize(..=plain.len());
            let most = random.usize(..PIECE_BYTES * 3);
            let expected = &plain[begin..(begin + most).min(plain.len())];
            assert!(content.read(begin, most) == expected, "step {step}, from {begin}");
            assert_eq!(content.len(), plain.len());
            let kept: usize = content.pieces.iter().map(|piece| piece.len()).sum();
            assert!(
                kept <= room(plain.len()) && room(plain.len()) < plain.len() + STEP_BYTES,
                "step {step}"
            );
        }
    }

    #[test]
    fn to_lengthen_a_file_copies_no_more_than_its_last_piece() {
        let mut content = Content::default();
        content.resize(3 * PIECE_BYTES + 5);
        content.write(0, &vec![1; 3 * PIECE_BYTES + 5]);
        let places = |content: &Content| {
            content.pieces[..3]
                .iter()
                .map(|piece| piece.as_ptr())
                .collect::<Vec<_>>()
        };
        let before = places(&content);
        content.resize(1 << 36);
        assert_eq!(places(&content), before);
        let kept: usize = content.pieces.iter().map(|piece| piece.len()).sum();
        assert_eq!(kept, 4 * PIECE_BYTES, "what nobody wrote is not kept");
        assert_eq!(content.read(3 * PIECE_BYTES + 4, 3), [1, 0, 0]);
        assert_eq!(content.read((1 << 36) - 1, 3), [0]);
    }
}
