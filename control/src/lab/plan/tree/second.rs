//! A second tree on other links.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::Tree;

/// What a path costs: routers that the first tree goes through as well, then hops.
type Cost = (usize, usize);

impl<'t> Tree<'t> {
    /// The parents of a second tree from the ingress to the last hops. It uses no link of the paths to the last hops, and
    /// of the routers on them as few as can be.
    pub(super) fn find_second(&self) -> Result<HashMap<&'t str, &'t str>, String> {
        let first = self.paths(&self.parent);
        let parents = self.cheapest_parents(&first);
        let reached = |hop: &&str| *hop == self.ingress || parents.contains_key(hop);
        match self.last_hops.iter().find(|hop| !reached(hop)) {
            Some(lost) => Err(format!(
                "there is no second path from {} to {lost} on links that the first tree leaves free",
                self.ingress
            )),
            None => Ok(self.paths(&parents)),
        }
    }

    /// Of `parents` those on the way to a last hop.
    fn paths(&self, parents: &HashMap<&'t str, &'t str>) -> HashMap<&'t str, &'t str> {
        let mut paths = HashMap::new();
        for hop in &self.last_hops {
            let mut at = *hop;
            while let Some(&parent) = parents.get(at) {
                paths.insert(at, parent);
                at = parent;
            }
        }
        paths
    }

    /// Dijkstra's algorithm over the links that are not in `first`. Where two paths cost the same, the link that the
    /// topology lists first wins.
    fn cheapest_parents(&self, first: &HashMap<&'t str, &'t str>) -> HashMap<&'t str, &'t str> {
        let inner: HashSet<&str> = first.values().copied().collect();
        let is_free = |a: &str, b: &str| first.get(a) != Some(&b) && first.get(b) != Some(&a);
        let mut costs: HashMap<&'t str, Cost> = HashMap::from([(self.ingress, (0, 0))]);
        let mut parents = HashMap::new();
        let mut order = 0;
        let mut queue = BinaryHeap::from([Reverse(((0, 0), order, self.ingress))]);
        while let Some(Reverse((cost, _, router))) = queue.pop() {
            if costs[router] < cost {
                continue;
            }
            for other in self
                .neighbors(router)
                .filter(|other| is_free(router, other))
            {
                let shared = cost.0 + usize::from(inner.contains(other));
                let next = (shared, cost.1 + 1);
                if costs.get(other).is_none_or(|known| next < *known) {
                    order += 1;
                    costs.insert(other, next);
                    parents.insert(other, router);
                    queue.push(Reverse((next, order, other)));
                }
            }
        }
        parents
    }
}
