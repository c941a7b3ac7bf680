//! Networks too large to write by hand: regular trees, as topology files.

use std::fmt::Write;

/// A regular tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct Shape {
    /// Links from the ingress to each last hop of a generated tree.
    #[arg(long, conflicts_with_all = ["file", "random"], default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(super) levels: u8,
    /// Give a generated tree a second core beside the first: every router has a backup and every last hop a second path.
    #[arg(long, conflicts_with_all = ["file", "random"])]
    pub(super) redundant: bool,
}

impl Shape {
    /// The topology file of a tree with this many last hops, each with one client.
    pub(super) fn topology(self, last_hops: usize) -> Result<String, String> {
        if self.redundant && self.levels < 2 {
            return Err("--redundant needs --levels 2 or more: \
                        at one level there is no router between ingress and last hop"
                .to_string());
        }
        let mut file = File::default();
        let cores: &[char] = if self.redundant { &['a', 'b'] } else { &['a'] };
        for &core in cores {
            for level in 1..self.levels {
                self.level(core, level, last_hops, &mut file);
            }
        }
        for index in 0..last_hops {
            let last_hop = format!("lh{}", index + 1);
            for &core in cores {
                file.link(&self.parent(core, self.levels, index, last_hops), &last_hop);
            }
            file.host(&format!("c{}", index + 1), &last_hop);
            file.router(&last_hop);
        }
        if self.redundant {
            for level in 1..self.levels {
                for index in 0..self.width(level, last_hops) {
                    file.link(&router('a', level, index), &router('b', level, index));
                }
            }
        }
        Ok(file.finish(last_hops))
    }

    /// Routers of one core at a level, and the links to those above them.
    fn level(self, core: char, level: u8, last_hops: usize, file: &mut File) {
        for index in 0..self.width(level, last_hops) {
            let name = router(core, level, index);
            file.link(&self.parent(core, level, index, last_hops), &name);
            file.router(&name);
        }
    }

    /// The router above one: each has nearly as many below it as its siblings have.
    fn parent(self, core: char, level: u8, index: usize, last_hops: usize) -> String {
        let above = level - 1;
        if above == 0 {
            return "ing".to_string();
        }
        let place = index * self.width(above, last_hops) / self.width(level, last_hops);
        router(core, above, place)
    }

    /// How many routers a level has: as many times more than the one above at every level.
    fn width(self, level: u8, last_hops: usize) -> usize {
        if level == self.levels {
            return last_hops;
        }
        let share = f64::from(level) / f64::from(self.levels);
        (last_hops as f64).powf(share).round() as usize
    }
}

fn router(core: char, level: u8, index: usize) -> String {
    format!("{core}{level}-{}", index + 1)
}

/// A topology file under way.
#[derive(Debug, Default)]
struct File {
    routers: String,
    links: String,
    hosts: String,
}

impl File {
    fn router(&mut self, name: &str) {
        // Writing to a string can't fail, here and below.
        let _ = write!(self.routers, ", \"{name}\"");
    }

    fn link(&mut self, from: &str, to: &str) {
        let _ = writeln!(self.links, "  {{ between = [\"{from}\", \"{to}\"] }},");
    }

    fn host(&mut self, name: &str, router: &str) {
        let _ = writeln!(
            self.hosts,
            "  {{ name = \"{name}\", router = \"{router}\" }},"
        );
    }

    fn finish(self, last_hops: usize) -> String {
        let File {
            routers,
            links,
            hosts,
        } = self;
        let clients: Vec<String> = (1..=last_hops).map(|at| format!("\"c{at}\"")).collect();
        let clients = clients.join(", ");
        // Hellos as often as real routers send them: nobody shares a processor here.
        format!(
            "name = \"tree-{last_hops}\"\n\
             routers = [\"ing\"{routers}]\n\
             link = [\n{links}]\n\
             host = [\n  {{ name = \"source\", router = \"ing\" }},\n{hosts}]\n\
             [node]\nhello = \"10ms\"\n\
             [[session]]\nname = \"tv1\"\nsource = \"source\"\nclients = [{clients}]\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Draft, Topology};

    fn topology(levels: u8, redundant: bool, last_hops: usize) -> Topology {
        let shape = Shape { levels, redundant };
        Topology::parse("tree", &shape.topology(last_hops).unwrap()).unwrap()
    }

    #[test]
    fn every_last_hop_is_as_many_links_away() {
        for (levels, routers) in [(1, 1 + 100), (2, 1 + 10 + 100), (3, 1 + 5 + 22 + 100)] {
            let topology = topology(levels, false, 100);
            assert_eq!(topology.routers.len(), routers);
            let draft = Draft::new(&topology).unwrap();
            let tree = &draft.trees()[0];
            assert_eq!(tree.last_hops().len(), 100);
            for last_hop in tree.last_hops() {
                let above = std::iter::successors(Some(*last_hop), |router| {
                    tree.upstream(router).first().copied()
                });
                assert_eq!(above.count(), usize::from(levels) + 1);
            }
        }
    }

    #[test]
    fn a_redundant_tree_has_room_for_two_trees_and_a_backup_everywhere() {
        let mut topology = topology(3, true, 50);
        topology.sessions[0].settings.trees = Some(2);
        let draft = Draft::new(&topology).unwrap();
        let tree = &draft.trees()[0];
        for last_hop in tree.last_hops() {
            let upstream = tree.upstream(last_hop);
            assert_eq!(upstream.len(), 2);
            assert_eq!(tree.second_upstream(last_hop), [upstream[1]]);
        }
        for router in tree.members().iter().filter(|router| **router != "ing") {
            assert!(tree.upstream(router).len() > 1, "{router}");
        }
    }

    #[test]
    fn a_second_core_needs_a_first() {
        let shape = Shape {
            levels: 1,
            redundant: true,
        };
        let error = shape.topology(10).unwrap_err();
        assert!(error.contains("--levels 2"), "{error}");
    }
}
