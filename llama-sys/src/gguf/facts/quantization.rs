//! The name of a file's quantization.

use std::collections::BTreeMap;

use super::super::header::Header;
use super::super::tensor_type::TensorType;

/// `enum llama_ftype` of llama.cpp's `include/llama.h`.
const FILE_TYPES: [(u64, &str); 36] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4"),
    (39, "NVFP4"),
    (40, "Q1_0"),
    (41, "Q2_0"),
];

/// The file's own word for it, else the type that most bytes have.
pub(super) fn name(headers: &[Header]) -> String {
    let claimed = headers
        .first()
        .and_then(|header| header.unsigned("general.file_type"));
    FILE_TYPES
        .iter()
        .find(|(id, _)| Some(*id) == claimed)
        .map(|(_, name)| (*name).to_owned())
        .or_else(|| most_bytes(headers).map(|ty| ty.name().to_owned()))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn most_bytes(headers: &[Header]) -> Option<TensorType> {
    let mut totals: BTreeMap<TensorType, u64> = BTreeMap::new();
    for tensor in headers.iter().flat_map(Header::tensors) {
        let total = totals.entry(tensor.ty).or_default();
        *total = total.saturating_add(tensor.bytes);
    }
    totals
        .into_iter()
        .max_by_key(|(_, total)| *total)
        .map(|(ty, _)| ty)
}
