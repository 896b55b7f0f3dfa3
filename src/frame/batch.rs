// SPDX-License-Identifier: Apache-2.0
//! Frames that travel together.

use super::{BATCH, Frame};
use arrayvec::ArrayVec;
use std::ops::{Deref, DerefMut};

/// Frames on their way from one stage to the next: an [`ArrayVec`], and what stages do with one.
#[derive(Default)]
pub struct Batch(ArrayVec<Frame, BATCH>);

/// One value for each frame of a batch, in their order.
pub type Notes<Note> = ArrayVec<Note, BATCH>;

/// Frames, each with what a stage has found out about it. Neither can be changed without the other.
pub struct Annotated<'a, Note> {
    frames: &'a mut Batch,
    notes: &'a mut Notes<Note>,
}

impl Batch {
    /// A batch without frames.
    #[inline]
    pub const fn new() -> Batch {
        Batch(ArrayVec::new_const())
    }

    /// Keeps the frames that `judge` accepts, in their order, which costs nothing. Each other is given to `reject` with the
    /// reason.
    #[inline]
    pub fn try_retain<Rejection>(
        &mut self,
        mut judge: impl FnMut(&mut Frame) -> Result<(), Rejection>,
        mut reject: impl FnMut(Rejection, Frame),
    ) {
        self.try_retain_indexed(
            &mut Notes::new(),
            |_, frame| judge(frame),
            |_, rejection, frame| reject(rejection, frame),
        );
    }

    /// As [`Batch::try_retain`]; what `judge` finds out about the frames that it accepts becomes their notes.
    #[inline(always)]
    pub fn try_annotate<'a, Note, Rejection>(
        &'a mut self,
        notes: &'a mut Notes<Note>,
        mut judge: impl FnMut(&mut Frame) -> Result<Note, Rejection>,
        mut reject: impl FnMut(Rejection, Frame),
    ) -> Annotated<'a, Note> {
        self.try_retain_indexed(
            notes,
            |_, frame| judge(frame),
            |_, rejection, frame| reject(rejection, frame),
        );
        Annotated { frames: self, notes }
    }

    #[inline(always)]
    fn try_retain_indexed<Note, Rejection>(
        &mut self,
        notes: &mut Notes<Note>,
        mut judge: impl FnMut(usize, &mut Frame) -> Result<Note, Rejection>,
        mut reject: impl FnMut(usize, Rejection, Frame),
    ) {
        let count = self.0.len();
        let mut kept = 0;
        notes.clear();
        // SAFETY: the batch counts as empty as long as not all frames are where they belong; should a closure panic, they
        // are lost, not doubled. Of the `count` frames each is looked at once, and then either given away or moved to
        // the first place that is free by then, if that is not its own. Its note goes to the same place of `notes`, which has
        // the capacity of a batch. `set_len` borrows the whole array, so the pointers are taken behind it, and not used any
        // more at the second one.
        unsafe {
            self.0.set_len(0);
            let (frames, notes_written) = (self.0.as_mut_ptr(), notes.as_mut_ptr());
            for index in 0..count {
                let frame = frames.add(index);
                match judge(index, &mut *frame) {
                    Ok(note) => {
                        if kept != index {
                            frames.add(kept).copy_from_nonoverlapping(frame, 1);
                        }
                        notes_written.add(kept).write(note);
                        kept += 1;
                    }
                    Err(rejection) => reject(index, rejection, frame.read()),
                }
            }
            self.0.set_len(kept);
            notes.set_len(kept);
        }
    }

    /// Moves all frames of `other` behind those that are here. What there is no room for stays there.
    #[inline]
    pub fn append(&mut self, other: &mut Batch) {
        let (here, there) = (self.0.len(), other.0.len());
        let count = there.min(BATCH - here);
        // SAFETY: `count` frames are read from `other`, which holds as many, into room that `self` has for them. From
        // then on they are counted here and no longer there, so each has one owner; the rest moves to the front.
        unsafe {
            let from = other.0.as_mut_ptr();
            std::ptr::copy_nonoverlapping(from, self.0.as_mut_ptr().add(here), count);
            std::ptr::copy(from.add(count), from, there - count);
            other.0.set_len(there - count);
            self.0.set_len(here + count);
        }
    }
}

impl<'a, Note> Annotated<'a, Note> {
    /// The frames with their notes. A frame without a note, or a note without a frame, is a mistake of the caller: both go.
    #[inline]
    pub fn new(frames: &'a mut Batch, notes: &'a mut Notes<Note>) -> Annotated<'a, Note> {
        debug_assert_eq!(frames.len(), notes.len());
        let count = frames.len().min(notes.len());
        frames.truncate(count);
        notes.truncate(count);
        Annotated { frames, notes }
    }

    /// Whether there is no frame.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Other notes, one for each frame with its present note. What `judge` gets it may keep while it looks at others.
    #[inline(always)]
    pub fn map<'b, Other>(
        &'b mut self,
        others: &mut Notes<Other>,
        mut judge: impl FnMut(&'b mut Frame, &'b Note) -> Other,
    ) {
        others.clear();
        self.for_each(|_, frame, note| {
            let other = judge(frame, note);
            // SAFETY: both have the capacity of a batch, of which the frames take one place each.
            unsafe { others.push_unchecked(other) };
        });
    }

    /// Shows each frame with its note and its place in the batch. What `visit` gets it may keep while it looks at others.
    #[inline(always)]
    pub fn for_each<'b>(&'b mut self, mut visit: impl FnMut(usize, &'b mut Frame, &'b Note)) {
        for (index, (frame, note)) in self.frames.iter_mut().zip(self.notes.iter()).enumerate() {
            visit(index, frame, note);
        }
    }

    /// The frames alone.
    #[inline]
    pub fn into_frames(self) -> &'a mut Batch {
        self.frames
    }
}

impl<'a, Note: Copy> Annotated<'a, Note> {
    /// As [`Batch::try_retain`], with the notes, which have served their purpose then.
    #[inline(always)]
    pub fn try_retain<Rejection>(
        self,
        mut judge: impl FnMut(&mut Frame, Note) -> Result<(), Rejection>,
        mut reject: impl FnMut(Rejection, Frame, Note),
    ) -> &'a mut Batch {
        let notes = &self.notes[..self.frames.len()];
        self.frames.try_retain_indexed(
            &mut Notes::new(),
            |index, frame| judge(frame, notes[index]),
            |index, rejection, frame| reject(rejection, frame, notes[index]),
        );
        self.frames
    }
}

impl Deref for Batch {
    type Target = ArrayVec<Frame, BATCH>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Batch {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl FromIterator<Frame> for Batch {
    /// At most [`BATCH`] frames.
    fn from_iter<Iter: IntoIterator<Item = Frame>>(frames: Iter) -> Batch {
        Batch(frames.into_iter().collect())
    }
}

impl IntoIterator for Batch {
    type Item = Frame;
    type IntoIter = arrayvec::IntoIter<Frame, BATCH>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a mut Batch {
    type Item = &'a mut Frame;
    type IntoIter = std::slice::IterMut<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Pool;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn try_retain_keeps_the_accepted_in_order_and_gives_away_each_other_once(
            kinds in prop::collection::vec(any::<bool>(), 0..=BATCH),
        ) {
            let pool = Pool::new(BATCH as u32).unwrap();
            let numbered = |i: usize| pool.copy_of(&[i as u8]).unwrap();
            let mut batch: Batch = (0..kinds.len()).map(numbered).collect();
            let (mut judged, mut rejected) = (Vec::new(), Vec::new());
            batch.try_retain(
                |frame| {
                    let index = usize::from(frame.data()[0]);
                    judged.push(index);
                    if kinds[index] { Ok(()) } else { Err(index) }
                },
                |index, frame| rejected.push((index, usize::from(frame.data()[0]))),
            );
            let kept: Vec<_> = batch.iter().map(|frame| usize::from(frame.data()[0])).collect();
            let (good, bad): (Vec<usize>, Vec<usize>) = (0..kinds.len()).partition(|index| kinds[*index]);
            prop_assert_eq!(judged, (0..kinds.len()).collect::<Vec<_>>());
            prop_assert_eq!(rejected, bad.into_iter().map(|index| (index, index)).collect::<Vec<_>>());
            prop_assert_eq!(kept, good);
            prop_assert_eq!(pool.available(), BATCH - batch.len());
        }
    }

    #[test]
    fn notes_stay_with_their_frames() {
        let pool = Pool::new(5).unwrap();
        let mut batch: Batch = (0..5).map(|i: u8| pool.copy_of(&[i]).unwrap()).collect();
        let (mut notes, mut rejected) = (Notes::new(), Vec::new());
        let annotated = batch.try_annotate(
            &mut notes,
            |frame| if frame.data()[0] == 1 { Err(()) } else { Ok(frame.data()[0] * 10) },
            |(), frame| rejected.push(frame.data()[0]),
        );
        let (mut annotated, mut others) = (annotated, Notes::new());
        annotated.map(&mut others, |frame, note| (frame.data()[0], *note));
        assert_eq!(others[..], [(0, 0), (2, 20), (3, 30), (4, 40)]);
        let kept = annotated.try_retain(
            |frame, note| if note == 30 { Err(frame.data()[0]) } else { Ok(()) },
            |found, frame, note| {
                assert_eq!((frame.data()[0], note), (found, 30));
                rejected.push(found);
            },
        );
        assert_eq!(kept.iter().map(|frame| frame.data()[0]).collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(rejected, [1, 3]);
    }

    #[test]
    fn what_does_not_fit_behind_the_others_stays() {
        let pool = Pool::new(2 * BATCH as u32).unwrap();
        let full = |count| (0..count).map(|_| pool.take().unwrap()).collect::<Batch>();
        let (mut empty, mut some, mut many) = (Batch::new(), full(2), full(BATCH));
        empty.append(&mut some);
        assert_eq!((empty.len(), some.len()), (2, 0));
        empty.append(&mut many);
        assert_eq!((empty.len(), many.len()), (BATCH, 2));
    }
}
