//! The distribution trees of one session.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::lab::topology::Topology;

mod second;

/// The shortest-path tree from an ingress, and which routers take part in it. Where two paths are equally short, the
/// link that the topology lists first wins.
#[derive(Debug)]
pub(crate) struct Tree<'t> {
    topology: &'t Topology,
    /// The routers that each router has a link with, in the order of the links.
    neighbors: HashMap<&'t str, Vec<&'t str>>,
    /// How far each router that can be reached is from the ingress.
    depth: HashMap<&'t str, usize>,
    parent: HashMap<&'t str, &'t str>,
    /// The parents in the second tree, of those that are in it.
    second: HashMap<&'t str, &'t str>,
    ingress: &'t str,
    last_hops: Vec<&'t str>,
    /// Routers that carry the session, in the order of the topology.
    members: Vec<&'t str>,
}

impl<'t> Tree<'t> {
    /// The tree from `ingress` to `last_hops`; `Err` names a last hop that can't be reached.
    pub(super) fn new(
        topology: &'t Topology,
        ingress: &'t str,
        last_hops: &[&'t str],
    ) -> Result<Tree<'t>, String> {
        let mut tree = Tree {
            topology,
            neighbors: neighbors(topology),
            depth: HashMap::from([(ingress, 0)]),
            parent: HashMap::new(),
            second: HashMap::new(),
            ingress,
            last_hops: last_hops.to_vec(),
            members: Vec::new(),
        };
        tree.span(ingress);
        if let Some(lost) = last_hops.iter().find(|hop| !tree.depth.contains_key(*hop)) {
            return Err(format!("there is no path from {ingress} to {lost}"));
        }
        tree.enrol();
        Ok(tree)
    }

    /// This tree, and a second one beside it if there are to be `trees` = 2; `Err` names a last hop that has no second
    /// path. Routers that the second one alone needs become members of both, so that they can repair.
    pub(super) fn with_trees(mut self, trees: u8) -> Result<Tree<'t>, String> {
        if trees > 1 {
            self.second = self.find_second()?;
            self.enrol();
        }
        Ok(self)
    }

    /// The router that the source is at.
    #[must_use]
    pub(crate) fn ingress(&self) -> &'t str {
        self.ingress
    }

    /// The routers that have clients, in the order of the topology.
    #[must_use]
    pub(crate) fn last_hops(&self) -> &[&'t str] {
        &self.last_hops
    }

    /// The routers that carry the session.
    #[must_use]
    pub(crate) fn members(&self) -> &[&'t str] {
        &self.members
    }

    /// The parent of `router`, then its backups: the other neighbors that are no further from the ingress. What is below
    /// a router could only give it what it has itself.
    #[must_use]
    pub(crate) fn upstream(&self, router: &str) -> Vec<&'t str> {
        let Some(&parent) = self.parent.get(router) else {
            return Vec::new();
        };
        let depth = self.depth[router];
        let backups = self
            .neighbors(router)
            .filter(|other| *other != parent && self.depth[other] <= depth);
        std::iter::once(parent).chain(backups).collect()
    }

    /// The members whose parent is `router`.
    #[must_use]
    pub(super) fn downstream(&self, router: &str) -> Vec<&'t str> {
        self.neighbors(router)
            .filter(|other| self.parent.get(other) == Some(&router) && self.members.contains(other))
            .collect()
    }

    /// Links of the first tree.
    #[must_use]
    pub(super) fn links(&self) -> usize {
        let members = self.members.iter();
        members.map(|router| self.downstream(router).len()).sum()
    }

    /// The router that `router` has the second tree from, if it is in it.
    #[must_use]
    pub(crate) fn second_upstream(&self, router: &str) -> Vec<&'t str> {
        self.second.get(router).copied().into_iter().collect()
    }

    /// The routers that have the second tree from `router`.
    #[must_use]
    pub(super) fn second_downstream(&self, router: &str) -> Vec<&'t str> {
        self.neighbors(router)
            .filter(|other| self.second.get(other) == Some(&router))
            .collect()
    }

    /// The routers that have a link with `router`, in the order of the links.
    fn neighbors(&self, router: &str) -> impl Iterator<Item = &'t str> {
        self.neighbors.get(router).into_iter().flatten().copied()
    }

    /// Breadth first, in the order of the links.
    fn span(&mut self, ingress: &'t str) {
        let mut queue = VecDeque::from([ingress]);
        while let Some(router) = queue.pop_front() {
            let depth = self.depth[router] + 1;
            let others: Vec<&str> = self.neighbors(router).collect();
            for other in others {
                if !self.depth.contains_key(other) {
                    self.depth.insert(other, depth);
                    self.parent.insert(other, router);
                    queue.push_back(other);
                }
            }
        }
    }

    /// Makes members of the last hops, of those in the second tree, of all that is above a member, and of the backups of
    /// members.
    fn enrol(&mut self) {
        let mut queue = self.last_hops.clone();
        queue.extend(self.second.keys());
        let mut members = HashSet::new();
        while let Some(router) = queue.pop() {
            if members.insert(router) {
                queue.extend(self.upstream(router));
            }
        }
        self.members = self
            .topology
            .routers
            .iter()
            .map(String::as_str)
            .filter(|router| members.contains(*router))
            .collect();
    }
}

/// The routers that each router has a link with, in the order of the links.
fn neighbors(topology: &Topology) -> HashMap<&str, Vec<&str>> {
    let mut neighbors: HashMap<&str, Vec<&str>> = HashMap::new();
    for link in &topology.links {
        let [a, b] = &link.between;
        neighbors.entry(a).or_default().push(b);
        neighbors.entry(b).or_default().push(a);
    }
    neighbors
}
