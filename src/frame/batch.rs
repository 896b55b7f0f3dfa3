// SPDX-License-Identifier: Apache-2.0
//! Frames that travel together.

use super::{BATCH, Frame};
use arrayvec::ArrayVec;
use std::ops::{Deref, DerefMut};

/// Frames on their way from one stage to the next: an [`ArrayVec`], and what stages do with one.
#[derive(Default)]
pub struct Batch(ArrayVec<Frame, BATCH>);

impl Batch {
    #[inline]
    pub const fn new() -> Batch {
        Batch(ArrayVec::new_const())
    }

    /// Has `judge` look at every frame. Those it finds good stay where they are, which costs nothing; the others are
    /// taken out and given to `except` with what was found.
    #[inline]
    pub fn sift<Finding>(
        &mut self,
        mut judge: impl FnMut(&mut Frame) -> Result<(), Finding>,
        mut except: impl FnMut(Finding, Frame),
    ) {
        let count = self.0.len();
        let mut kept = 0;
        // SAFETY: the batch counts as empty as long as not all frames are where they belong; should a closure panic, they
        // are lost, not doubled. Of the `count` frames each is looked at once, and then either given away or moved to
        // the first place that is free by then, if that is not its own. `set_len` borrows the whole array, so the pointer
        // is taken behind it, and not used any more at the second one.
        unsafe {
            self.0.set_len(0);
            let frames = self.0.as_mut_ptr();
            for index in 0..count {
                let frame = frames.add(index);
                match judge(&mut *frame) {
                    Ok(()) => {
                        if kept != index {
                            frames.add(kept).copy_from_nonoverlapping(frame, 1);
                        }
                        kept += 1;
                    }
                    Err(finding) => except(finding, frame.read()),
                }
            }
            self.0.set_len(kept);
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
        fn sifting_keeps_the_good_in_order_and_gives_every_other_away_once(
            kinds in prop::collection::vec(any::<bool>(), 0..=BATCH),
        ) {
            let pool = Pool::new(BATCH as u32).unwrap();
            let numbered = |i: usize| pool.copy_of(&[i as u8]).unwrap();
            let mut batch: Batch = (0..kinds.len()).map(numbered).collect();
            let (mut judged, mut excepted) = (Vec::new(), Vec::new());
            batch.sift(
                |frame| {
                    let index = usize::from(frame.data()[0]);
                    judged.push(index);
                    if kinds[index] { Ok(()) } else { Err(index) }
                },
                |finding, frame| excepted.push((finding, usize::from(frame.data()[0]))),
            );
            let kept: Vec<_> = batch.iter().map(|frame| usize::from(frame.data()[0])).collect();
            let (good, bad): (Vec<usize>, Vec<usize>) = (0..kinds.len()).partition(|index| kinds[*index]);
            prop_assert_eq!(judged, (0..kinds.len()).collect::<Vec<_>>());
            prop_assert_eq!(excepted, bad.into_iter().map(|index| (index, index)).collect::<Vec<_>>());
            prop_assert_eq!(kept, good);
            prop_assert_eq!(pool.available(), BATCH - batch.len());
        }
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
