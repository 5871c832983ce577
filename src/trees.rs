//! Maps and sets out of what is iterated.

use std::collections::{BTreeMap, BTreeSet};

/// A map or a set of the standard library.
pub(crate) trait Tree<T>: Default + Extend<T> {}

impl<K: Ord, V> Tree<(K, V)> for BTreeMap<K, V> {}
impl<T: Ord> Tree<T> for BTreeSet<T> {}

/// What can be iterated.
pub(crate) trait Gather: Iterator + Sized {
    /// Puts each into a map or a set. `collect` sorts them first, which brings a sort of its own for each type: 6 kB in a
    /// Worker.
    fn gather<C: Tree<Self::Item>>(self) -> C {
        let mut tree = C::default();
        tree.extend(self);
        tree
    }
}

impl<I: Iterator> Gather for I {}
