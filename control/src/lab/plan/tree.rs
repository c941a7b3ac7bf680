//! The distribution tree of one session.

use std::collections::{HashMap, VecDeque};

use crate::lab::topology::Topology;

/// The shortest-path tree from an ingress, and which routers take part in it. Where two paths are equally short, the
/// link that the topology lists first wins.
#[derive(Debug)]
pub(super) struct Tree<'t> {
    topology: &'t Topology,
    /// How far each router that can be reached is from the ingress.
    depth: HashMap<&'t str, usize>,
    parent: HashMap<&'t str, &'t str>,
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
            depth: HashMap::from([(ingress, 0)]),
            parent: HashMap::new(),
            members: Vec::new(),
        };
        tree.span(ingress);
        if let Some(lost) = last_hops.iter().find(|hop| !tree.depth.contains_key(*hop)) {
            return Err(format!("there is no path from {ingress} to {lost}"));
        }
        tree.enrol(last_hops);
        Ok(tree)
    }

    /// The routers that carry the session.
    #[must_use]
    pub(super) fn members(&self) -> &[&'t str] {
        &self.members
    }

    /// The parent of `router`, then its backups: the other neighbors that are no further from the ingress. What is below
    /// a router could only give it what it has itself.
    #[must_use]
    pub(super) fn upstream(&self, router: &str) -> Vec<&'t str> {
        let Some(&parent) = self.parent.get(router) else {
            return Vec::new();
        };
        let depth = self.depth[router];
        let backups = neighbors(self.topology, router)
            .filter(|other| *other != parent && self.depth[other] <= depth);
        std::iter::once(parent).chain(backups).collect()
    }

    /// The members whose parent is `router`.
    #[must_use]
    pub(super) fn downstream(&self, router: &str) -> Vec<&'t str> {
        neighbors(self.topology, router)
            .filter(|other| self.parent.get(other) == Some(&router) && self.members.contains(other))
            .collect()
    }

    /// Breadth first, in the order of the links.
    fn span(&mut self, ingress: &'t str) {
        let mut queue = VecDeque::from([ingress]);
        while let Some(router) = queue.pop_front() {
            let depth = self.depth[router] + 1;
            for other in neighbors(self.topology, router) {
                if !self.depth.contains_key(other) {
                    self.depth.insert(other, depth);
                    self.parent.insert(other, router);
                    queue.push_back(other);
                }
            }
        }
    }

    /// Makes members of the last hops, of all that is above a member, and of the backups of members.
    fn enrol(&mut self, last_hops: &[&'t str]) {
        let mut queue: Vec<&'t str> = last_hops.to_vec();
        let mut members = Vec::new();
        while let Some(router) = queue.pop() {
            if !members.contains(&router) {
                members.push(router);
                queue.extend(self.upstream(router));
            }
        }
        self.members = self
            .topology
            .routers
            .iter()
            .map(String::as_str)
            .filter(|router| members.contains(router))
            .collect();
    }
}

/// The routers that have a link with `router`, in the order of the links.
pub(super) fn neighbors<'t>(topology: &'t Topology, router: &str) -> impl Iterator<Item = &'t str> {
    topology
        .links
        .iter()
        .filter_map(move |link| match &link.between {
            [a, b] if a == router => Some(b.as_str()),
            [a, b] if b == router => Some(a.as_str()),
            _ => None,
        })
}
