//! What each part of a model weighs: for whoever spreads layers over machines, before anything is
//! cut. It knows tensors by the names that llama.cpp gives them, and no architecture.

use super::facts::ModelFacts;
use super::header::Header;
use super::split::Model;
use super::tensor::Tensor;

/// Experts' tensors have this in their names.
const EXPERTS: &str = "_exps";

/// The token embedding; also the output head where a model has no other.
const EMBEDDING: &str = "token_embd.weight";

/// The output head.
const OUTPUT: &str = "output.weight";

/// Some tensors together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TensorSum {
    /// All of them.
    pub bytes: u64,
    /// What of them is read for a token: of experts, those that it uses.
    pub read_bytes: u64,
    /// Numbers that take part in a token's computation.
    pub parameters: u64,
}

/// What each part of a model weighs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBytes {
    /// Its layers in order.
    pub layers: Vec<TensorSum>,
    /// The token embedding and what belongs to it, of which a token reads a row.
    pub embedding: TensorSum,
    /// The output head and the norm in front of it. Where the embedding is the head, it counts
    /// here too.
    pub output: TensorSum,
    /// What every stage holds: tensors of no layer that are neither.
    pub shared: TensorSum,
}

impl LayerBytes {
    /// The parts of a model.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        let tensors: Vec<&Tensor> = model.headers.iter().flat_map(Header::tensors).collect();
        Self::sum(&tensors, &model.facts)
    }

    fn sum(tensors: &[&Tensor], facts: &ModelFacts) -> Self {
        let mut parts = Self {
            layers: vec![TensorSum::default(); facts.layers as usize],
            embedding: TensorSum::default(),
            output: TensorSum::default(),
            shared: TensorSum::default(),
        };
        let is_tied = !tensors.iter().any(|tensor| tensor.name == OUTPUT);
        for tensor in tensors {
            let sum = used(tensor, facts);
            parts.part(&tensor.name).add(sum);
            if is_tied && tensor.name == EMBEDDING {
                parts.output.add(sum);
            }
        }
        parts
    }

    /// The part that a tensor belongs to. A layer that the model does not have is everybody's:
    /// llama.cpp refuses such a file, and until then it counts as the dearest.
    fn part(&mut self, name: &str) -> &mut TensorSum {
        if let Some(layer) = layer(name)
            && layer < self.layers.len()
        {
            return &mut self.layers[layer];
        }
        match name.split('.').next().unwrap_or_default() {
            "token_embd" | "token_types" | "position_embd" | "token_embd_norm" => {
                &mut self.embedding
            }
            "output" | "output_norm" => &mut self.output,
            _ => &mut self.shared,
        }
    }
}

impl TensorSum {
    fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.read_bytes = self.read_bytes.saturating_add(other.read_bytes);
        self.parameters = self.parameters.saturating_add(other.parameters);
    }
}

/// The number in `blk.7.attn_q.weight`.
fn layer(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("blk.")?.split_once('.')?;
    number.parse().ok()
}

/// A tensor by itself.
fn used(tensor: &Tensor, facts: &ModelFacts) -> TensorSum {
    let experts = facts.experts.filter(|_| tensor.name.contains(EXPERTS));
    let share = |all: u64| match experts {
        // A share of a number that fits fits.
        Some(experts) if experts.used < experts.count => {
            let part = u128::from(all) * u128::from(experts.used) / u128::from(experts.count);
            u64::try_from(part).unwrap_or(all)
        }
        _ => all,
    };
    TensorSum {
        bytes: tensor.bytes,
        read_bytes: share(tensor.bytes),
        parameters: share(tensor.elements()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::super::{Builder, Experts, specimen};
    use super::*;

    fn header(builder: &Builder) -> Header {
        Header::read(&mut Cursor::new(builder.bytes())).unwrap()
    }

    fn parts(header: &Header, change: impl FnOnce(&mut ModelFacts)) -> LayerBytes {
        let mut facts = ModelFacts::from_header(header).unwrap();
        change(&mut facts);
        LayerBytes::sum(&header.tensors().iter().collect::<Vec<_>>(), &facts)
    }

    #[test]
    fn all_bytes_are_somewhere_and_a_tied_head_is_the_embedding() {
        let header = header(&specimen::tiny_llama());
        let parts = parts(&header, |_| {});
        let in_layers: u64 = parts.layers.iter().map(|layer| layer.bytes).sum();
        let norm = header.tensor("output_norm.weight").unwrap().bytes;
        assert_eq!(parts.layers.len(), 2);
        assert_eq!(parts.layers[0], parts.layers[1]);
        assert_eq!(parts.output.bytes, parts.embedding.bytes + norm);
        let all: u64 = header.tensors().iter().map(|tensor| tensor.bytes).sum();
        assert_eq!(in_layers + parts.output.bytes + parts.shared.bytes, all);
        assert_eq!(parts.output.read_bytes, parts.output.bytes);
    }

    #[test]
    fn an_own_head_is_not_the_embedding_and_the_rest_is_shared() {
        let values = vec![0.0; 64 * 4];
        let builder = specimen::tiny_llama()
            .tensor_f32("output.weight", &[64, 4], &values)
            .tensor_f32("rope_freqs.weight", &[16], &values[..16])
            .tensor_f32("blk.99.attn_q.weight", &[16], &values[..16]);
        let header = header(&builder);
        let parts = parts(&header, |_| {});
        let own = header.tensor("output.weight").unwrap().bytes;
        let norm = header.tensor("output_norm.weight").unwrap().bytes;
        assert_eq!(parts.output.bytes, own + norm);
        assert_eq!(parts.shared.bytes, 2 * 16 * 4);
    }

    #[test]
    fn of_experts_only_the_used_are_read() {
        let values = vec![0.0; 64];
        let builder =
            specimen::tiny_llama().tensor_f32("blk.0.ffn_up_exps.weight", &[4, 2, 8], &values);
        let header = header(&builder);
        let with = |experts| parts(&header, |facts| facts.experts = experts).layers[0];
        let dense = with(None);
        let sparse = with(Some(Experts { count: 8, used: 2 }));
        assert_eq!(dense.bytes, sparse.bytes);
        assert_eq!(dense.read_bytes - sparse.read_bytes, 64 * 4 * 6 / 8);
        assert_eq!(dense.parameters - sparse.parameters, 64 * 6 / 8);
    }

    #[test]
    fn a_model_in_a_file_is_summed() {
        let dir = tempfile::tempdir().unwrap();
        let path: &Path = &dir.path().join("tiny.gguf");
        std::fs::write(path, specimen::tiny_llama().bytes()).unwrap();
        let model = Model::open(path).unwrap();
        let parts = LayerBytes::of(&model);
        assert_eq!(parts.layers.len(), model.facts.layers as usize);
    }
}
