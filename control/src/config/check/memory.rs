//! Whether the packet pool holds what the sessions keep.

use dataplane::NodeConfig;

use crate::config::findings::{Fault, Findings};

/// An explicit pool has to hold what ports and sessions need; it has no spare beside that unless it is larger.
pub(super) fn check_pool(node: &NodeConfig, findings: &mut Findings) {
    let Some(packets) = node.pool_packets else {
        return;
    };
    let needed = dataplane::packets_needed(node).saturating_sub(node.spare_packets);
    if packets < needed {
        let message = format!(
            "{packets} packets are too few: ports and sessions (retention times max_rate) need {needed}"
        );
        let hint = format!("write at least {needed}, or leave `packets` out");
        findings.error(&[("memory.packets", "")], Fault::new(message).hint(hint));
    }
}
