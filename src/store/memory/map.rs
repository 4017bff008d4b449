//! A map whose copies cost nothing until one of them is written to, and then only the rows that are written.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Map<K, V>(Arc<BTreeMap<K, Arc<V>>>);

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord, V> Map<K, V> {
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map(|row| &**row)
    }

    pub(super) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.0.iter().map(|(key, row)| (key, &**row))
    }

    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.0.values().map(|row| &**row)
    }

    pub(super) fn range(&self, keys: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.0.range(keys).map(|(key, row)| (key, &**row))
    }

    pub(super) fn last(&self) -> Option<(&K, &V)> {
        self.0.last_key_value().map(|(key, row)| (key, &**row))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<K: Clone + Ord, V: Clone> Map<K, V> {
    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        // Nothing is copied for a row that isn't there.
        if !self.0.contains_key(key) {
            return None;
        }
        Arc::make_mut(&mut self.0).get_mut(key).map(Arc::make_mut)
    }

    pub(super) fn insert(&mut self, key: K, row: V) {
        Arc::make_mut(&mut self.0).insert(key, Arc::new(row));
    }

    /// Removes all rows but these.
    pub(super) fn retain(&mut self, stays: impl Fn(&K) -> bool) {
        if !self.0.keys().all(&stays) {
            Arc::make_mut(&mut self.0).retain(|key, _| stays(key));
        }
    }

    /// Changes each row that is one of these.
    pub(super) fn change(&mut self, which: impl Fn(&V) -> bool, mut change: impl FnMut(&mut V)) {
        if self.values().any(&which) {
            let rows = Arc::make_mut(&mut self.0).values_mut();
            rows.filter(|row| which(row)).for_each(|row| change(Arc::make_mut(row)));
        }
    }
}
