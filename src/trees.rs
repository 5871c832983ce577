//! Maps, sets and short lists in order, in little code.

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

/// A short list in the order of what `key` gives of each; what is alike stays in its order. All types share one sort.
pub(crate) fn in_order<T>(list: Vec<T>, key: impl Fn(&T) -> u64) -> Vec<T> {
    let mut order: Vec<(u64, usize)> = list.iter().map(key).zip(0..).collect();
    order.sort_unstable();
    let mut list: Vec<Option<T>> = list.into_iter().map(Some).collect();
    order.into_iter().filter_map(|(_, at)| list.get_mut(at)?.take()).collect()
}
