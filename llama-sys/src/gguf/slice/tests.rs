//! Plans of the specimens, put together in memory.

use std::io::Cursor;

use super::*;
use crate::gguf::specimen::{KINDS, Kind, of_kind};
use crate::gguf::{Builder, Header, Items, Value};

mod files;
mod hostile;
mod plans;
mod refusals;
mod shards;

/// The files of a source, and their headers.
struct Source {
    files: Vec<Vec<u8>>,
    headers: Vec<Header>,
}

impl Source {
    fn new(files: Vec<Vec<u8>>) -> Self {
        let headers = files
            .iter()
            .map(|file| Header::read(&mut Cursor::new(file)).unwrap())
            .collect();
        Self { files, headers }
    }

    fn of(kind: Kind) -> Self {
        Self::new(vec![of_kind(kind).bytes()])
    }

    fn of_architecture(architecture: &str) -> Self {
        let mut kinds = KINDS.iter();
        Self::of(
            *kinds
                .find(|kind| kind.architecture == architecture)
                .unwrap(),
        )
    }

    fn sliceable(&self) -> Sliceable<'_> {
        Sliceable::of(&self.headers).unwrap()
    }

    /// The slice's file.
    fn build(&self, plan: &SlicePlan) -> Vec<u8> {
        let mut file = Vec::new();
        for piece in plan.pieces() {
            assert_eq!(piece.offset, file.len() as u64, "in order, without gaps");
            let bytes = usize::try_from(piece.bytes).unwrap();
            match piece.origin {
                Origin::Plan { offset } => file.extend(&plan.written()[offset..][..bytes]),
                Origin::File { file: of, offset } => {
                    let offset = usize::try_from(offset).unwrap();
                    file.extend(&self.files[of][offset..][..bytes]);
                }
                Origin::Zeros => file.resize(file.len() + bytes, 0),
            }
        }
        assert_eq!(plan.bytes(), file.len() as u64);
        file
    }

    fn stage(&self, layers: Range<u32>) -> Slice {
        Slice::read(self.build(&self.sliceable().stage(layers).unwrap()))
    }

    fn data(&self, name: &str) -> &[u8] {
        let mut files = self.headers.iter().zip(&self.files);
        files
            .find_map(|(header, file)| data(header, file, name))
            .unwrap()
    }
}

/// A slice's file, read again.
struct Slice {
    file: Vec<u8>,
    header: Header,
}

impl Slice {
    fn read(file: Vec<u8>) -> Self {
        let header = Header::read(&mut Cursor::new(&file)).unwrap();
        Self { file, header }
    }

    fn data(&self, name: &str) -> Option<&[u8]> {
        data(&self.header, &self.file, name)
    }
}

fn data<'a>(header: &Header, file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let tensor = header.tensor(name)?;
    let start = usize::try_from(header.data_offset() + tensor.offset).unwrap();
    Some(&file[start..][..usize::try_from(tensor.bytes).unwrap()])
}

/// Every stage that the cuts of a model allow.
fn stages(model: &Sliceable<'_>) -> Vec<Range<u32>> {
    let ends = [vec![0], model.cuts(), vec![model.facts().layers]].concat();
    let pairs = ends.iter().flat_map(|a| ends.iter().map(move |b| *a..*b));
    pairs.filter(|range| !range.is_empty()).collect()
}
