//! The same model with each of its layers several times: what it says is nothing, but a token takes as
//! long as one of a model that is as much larger. The way between stages does not.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use llama_sys::gguf::{Builder, Header, ValueType};
use rand::rngs::StdRng;

use super::{
    Setting, loopback,
    member::{Product, SIZE},
    whole_bytes,
};

/// How often each layer is there. The cache grows with it: of one more, two sides at once would not fit
/// into a machine of 24 GiB.
const TIMES: u32 = 4;

/// Of what the planner says of the whole, in percent: its buffers do not grow with its layers, so that
/// parts of it take less.
const PARTS_PERCENT: u64 = 85;

/// The section's text.
pub(super) async fn measure(setting: &Setting<'_>, rng: &mut StdRng) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let model = deepened(setting.product.model, folder.path())?;
    let product = Product {
        model: &model,
        ..setting.product
    };
    let deep = Setting {
        product,
        whole_bytes: whole_bytes(product)? / 100 * PARTS_PERCENT,
        ..*setting
    };
    let table = loopback::measure(&deep, rng).await?;
    Ok(format!(
        "Here each of its layers is there {TIMES} times, in the order 0, 0, …, 1, 1, …: a model of that many times \
         the size, which says nothing that makes sense. `{}`.\n\n{table}",
        SIZE.join(" ")
    ))
}

/// Writes the model with each layer [`TIMES`] times into a folder.
fn deepened(model: &Path, folder: &Path) -> Result<PathBuf> {
    let header = Header::open(model)?;
    let file = File::open(model)?;
    let read = |offset: u64, bytes: u64| -> Result<Vec<u8>> {
        let mut buffer = vec![0; usize::try_from(bytes)?];
        file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    };
    let architecture = header.text("general.architecture");
    let architecture = architecture.context("no architecture")?;
    let mut deep = Builder::default();
    for (key, entry) in header.entries() {
        let tagged = read(entry.offset, entry.bytes)?;
        let (tag, value) = tagged.split_at(size_of::<u32>());
        deep = deep.value(key, u32::from_le_bytes(tag.try_into()?), value);
    }
    let count = format!("{architecture}.block_count");
    let layers = u32::try_from(header.unsigned(&count).context("no layers")?)?;
    let layers = (layers * TIMES).to_le_bytes();
    deep = deep.value(&count, ValueType::U32.id(), &layers);
    for tensor in header.tensors() {
        let bytes = read(header.data_offset() + tensor.offset, tensor.bytes)?;
        for name in names(&tensor.name)? {
            deep = deep.tensor(&name, &tensor.shape, tensor.ty, bytes.clone());
        }
    }
    let path = folder.join("deepened.gguf");
    deep.save(&path)?;
    Ok(path)
}

/// What the copies of a tensor are called.
fn names(name: &str) -> Result<Vec<String>> {
    let Some((layer, rest)) = name
        .strip_prefix("blk.")
        .and_then(|name| name.split_once('.'))
    else {
        return Ok(vec![name.to_owned()]);
    };
    let first = layer.parse::<u32>()? * TIMES;
    Ok((first..first + TIMES)
        .map(|layer| format!("blk.{layer}.{rest}"))
        .collect())
}
