//! Neutral features: built on one platform and carried over to the others, after a look that finds
//! no machine code in what they added.

use std::io::Read as _;
use std::sync::Arc;

use launchway_oci::{EntryKind, Stack, Tree, walk};
use launchway_plan::NodeId;

use crate::error::ReleaseError;
use crate::images::blocking;
use crate::merge::{Part, merge};
use crate::work::{Made, Shop, documents};

/// The feature `original`, built on `first_base`, as it stands on `base`.
pub(crate) async fn carry_over(
    shop: &Arc<Shop>,
    node: &NodeId,
    original: &Made,
    first_base: &Made,
    base: &Made,
) -> Result<Made, ReleaseError> {
    let image = shop.local(original).await?;
    let own = image.layers[first_base.layers.len()..].to_vec();
    let name = node.clone();
    blocking(move || {
        let stack = Stack { layers: own };
        match machine_code(&stack).map_err(ReleaseError::io("look for machine code"))? {
            None => Ok(()),
            Some(path) => Err(ReleaseError::Broken(format!(
                "{name} is marked neutral, but /{path} holds machine code: remove `neutral = true`"
            ))),
        }
    })
    .await?;
    // What the feature changed, relative to the base it was built on, goes on top of this base.
    let mut rebased = original.config.clone();
    let own_ids =
        original.config.rootfs.diff_ids[first_base.config.rootfs.diff_ids.len()..].to_vec();
    let own_history = original.config.history[first_base.config.history.len()..].to_vec();
    rebased.rootfs.diff_ids = base
        .config
        .rootfs
        .diff_ids
        .iter()
        .cloned()
        .chain(own_ids)
        .collect();
    rebased.history = base
        .config
        .history
        .iter()
        .cloned()
        .chain(own_history)
        .collect();
    let part = Part {
        name: node.as_str(),
        config: &rebased,
    };
    let config = merge(
        &base.config,
        &[part],
        &launchway_manifest::Overrides::default(),
        &std::collections::BTreeMap::new(),
    )?;
    let own_layers = original.layers[first_base.layers.len()..].iter().cloned();
    documents(
        config,
        base.layers.iter().cloned().chain(own_layers).collect(),
    )
}

/// The first file that starts like a program or library: ELF, PE or Mach-O.
fn machine_code(stack: &Stack) -> std::io::Result<Option<String>> {
    let mut found = None;
    walk(
        stack,
        std::path::Path::new(""),
        &mut |path: &std::path::Path, entry: &launchway_oci::TreeEntry| {
            if found.is_some() || entry.kind != EntryKind::File {
                return Ok::<(), std::io::Error>(());
            }
            let mut magic = [0; 4];
            let mut file = stack.open(path)?;
            if file.read_exact(&mut magic).is_ok() && is_machine_code(magic) {
                found = Some(path.display().to_string());
            }
            Ok(())
        },
    )?;
    Ok(found)
}

fn is_machine_code(magic: [u8; 4]) -> bool {
    matches!(
        magic,
        [0x7f, b'E', b'L', b'F']
            | [b'M', b'Z', _, _]
            | [0xfe, 0xed, 0xfa, 0xce | 0xcf]
            | [0xce | 0xcf, 0xfa, 0xed, 0xfe]
    )
}

#[cfg(test)]
mod tests {
    use super::is_machine_code;

    #[test]
    fn programs_are_told_by_their_first_bytes() {
        assert!(is_machine_code(*b"\x7fELF"));
        assert!(is_machine_code(*b"MZ\x90\0"));
        assert!(is_machine_code([0xcf, 0xfa, 0xed, 0xfe]));
        assert!(!is_machine_code(*b"#!/b"));
        assert!(!is_machine_code(*b"{\"na"));
    }
}
