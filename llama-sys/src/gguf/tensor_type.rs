//! The number formats of tensors: block sizes and bytes, as ggml defines them. It knows nothing
//! of how the numbers are computed with.

/// A tensor's number format. The ids are those of `enum ggml_type`; ids whose support ggml has
/// removed (4, 5, 31 to 33, 36 to 38) are unknown here too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(
    non_camel_case_types,
    reason = "the names that everybody knows them by"
)]
pub enum TensorType {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 4 bits, scale.
    Q4_0,
    /// 4 bits, scale and minimum.
    Q4_1,
    /// 5 bits, scale.
    Q5_0,
    /// 5 bits, scale and minimum.
    Q5_1,
    /// 8 bits, scale.
    Q8_0,
    /// 8 bits, scale and sum.
    Q8_1,
    /// 2-bit k-quant.
    Q2_K,
    /// 3-bit k-quant.
    Q3_K,
    /// 4-bit k-quant.
    Q4_K,
    /// 5-bit k-quant.
    Q5_K,
    /// 6-bit k-quant.
    Q6_K,
    /// 8-bit k-quant (intermediate results).
    Q8_K,
    /// 2.06 bits, codebook.
    IQ2_XXS,
    /// 2.31 bits, codebook.
    IQ2_XS,
    /// 3.06 bits, codebook.
    IQ3_XXS,
    /// 1.56 bits, codebook.
    IQ1_S,
    /// 4 bits, non-linear.
    IQ4_NL,
    /// 3.44 bits, codebook.
    IQ3_S,
    /// 2.56 bits, codebook.
    IQ2_S,
    /// 4.25 bits, non-linear.
    IQ4_XS,
    /// 8-bit integer.
    I8,
    /// 16-bit integer.
    I16,
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 64-bit float.
    F64,
    /// 1.75 bits, codebook.
    IQ1_M,
    /// Brain float.
    BF16,
    /// Ternary, 1.69 bits.
    TQ1_0,
    /// Ternary, 2.06 bits.
    TQ2_0,
    /// Microscaling 4-bit float.
    MXFP4,
    /// NVIDIA's 4-bit float.
    NVFP4,
    /// 1 bit, scale.
    Q1_0,
    /// 2 bits, scale.
    Q2_0,
}

/// Id in files, name, elements of a block, bytes of a block.
type Row = (TensorType, u32, &'static str, u64, u64);

/// `type_traits` of llama.cpp's `ggml/src/ggml.c` with the block sizes of `ggml-common.h`.
const TABLE: [Row; 35] = {
    use TensorType as T;
    [
        (T::F32, 0, "F32", 1, 4),
        (T::F16, 1, "F16", 1, 2),
        (T::Q4_0, 2, "Q4_0", 32, 18),
        (T::Q4_1, 3, "Q4_1", 32, 20),
        (T::Q5_0, 6, "Q5_0", 32, 22),
        (T::Q5_1, 7, "Q5_1", 32, 24),
        (T::Q8_0, 8, "Q8_0", 32, 34),
        (T::Q8_1, 9, "Q8_1", 32, 36),
        (T::Q2_K, 10, "Q2_K", 256, 84),
        (T::Q3_K, 11, "Q3_K", 256, 110),
        (T::Q4_K, 12, "Q4_K", 256, 144),
        (T::Q5_K, 13, "Q5_K", 256, 176),
        (T::Q6_K, 14, "Q6_K", 256, 210),
        (T::Q8_K, 15, "Q8_K", 256, 292),
        (T::IQ2_XXS, 16, "IQ2_XXS", 256, 66),
        (T::IQ2_XS, 17, "IQ2_XS", 256, 74),
        (T::IQ3_XXS, 18, "IQ3_XXS", 256, 98),
        (T::IQ1_S, 19, "IQ1_S", 256, 50),
        (T::IQ4_NL, 20, "IQ4_NL", 32, 18),
        (T::IQ3_S, 21, "IQ3_S", 256, 110),
        (T::IQ2_S, 22, "IQ2_S", 256, 82),
        (T::IQ4_XS, 23, "IQ4_XS", 256, 136),
        (T::I8, 24, "I8", 1, 1),
        (T::I16, 25, "I16", 1, 2),
        (T::I32, 26, "I32", 1, 4),
        (T::I64, 27, "I64", 1, 8),
        (T::F64, 28, "F64", 1, 8),
        (T::IQ1_M, 29, "IQ1_M", 256, 56),
        (T::BF16, 30, "BF16", 1, 2),
        (T::TQ1_0, 34, "TQ1_0", 256, 54),
        (T::TQ2_0, 35, "TQ2_0", 256, 66),
        (T::MXFP4, 39, "MXFP4", 32, 17),
        (T::NVFP4, 40, "NVFP4", 64, 36),
        (T::Q1_0, 41, "Q1_0", 128, 18),
        (T::Q2_0, 42, "Q2_0", 64, 18),
    ]
};

impl TensorType {
    /// The type with this id in files, if ggml still knows it.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == id).map(|row| row.0)
    }

    /// All types.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        // The enum and the table list the same types in the same order; a test holds them to it.
        &TABLE[self as usize]
    }

    /// Id in files.
    #[must_use]
    pub fn id(self) -> u32 {
        self.row().1
    }

    /// The name that everybody knows it by, such as `Q4_K`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Elements of a block; rows are whole blocks.
    #[must_use]
    pub fn block_elements(self) -> u64 {
        self.row().3
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_bytes(self) -> u64 {
        self.row().4
    }

    /// Bytes of `elements` in a row, a broken block counted as whole; `None` above `u64`.
    #[must_use]
    pub fn row_bytes(self, elements: u64) -> Option<u64> {
        elements
            .div_ceil(self.block_elements())
            .checked_mul(self.block_bytes())
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert_eq!(row.0.id(), row.1);
            assert_eq!(TensorType::from_id(row.1), Some(row.0));
        }
        for removed in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(TensorType::from_id(removed), None);
        }
    }

    #[cfg(feature = "llama")]
    #[test]
    fn sizes_are_those_of_ggml() {
        for ty in TensorType::all() {
            let id = ty.id() as llama_cpp_sys_2::ggml_type;
            // SAFETY: both functions look a valid id up in a static table.
            let (block, bytes) = unsafe {
                (
                    llama_cpp_sys_2::ggml_blck_size(id),
                    llama_cpp_sys_2::ggml_type_size(id),
                )
            };
            assert_eq!(i64::try_from(ty.block_elements()), Ok(block), "{ty}");
            assert_eq!(usize::try_from(ty.block_bytes()), Ok(bytes), "{ty}");
        }
    }
}
