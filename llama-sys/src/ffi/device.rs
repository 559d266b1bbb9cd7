//! llama.cpp's list of devices, and how fast each is at the two products that inference consists
//! of: weights times one vector (decoding, bound by memory), and weights times many (prefill,
//! bound by arithmetic).

use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use llama_cpp_sys_2 as sys;

use super::backend::Backend;
use crate::devices::{Device, DeviceKind, Measurement};

/// Columns of the measured weights: the width of a common model.
const WIDTH: i64 = 4096;

/// Rows of the weights for the vector product: 258 MiB of Q4_0, beyond any cache.
const READ_ROWS: i64 = 114_688;

/// Rows of the weights for the matrix product.
const COMPUTE_ROWS: i64 = 4096;

/// Vectors of the matrix product, where it is a processor's; and where it is a graphics card's,
/// which only many keep busy.
const CPU_BATCH: i64 = 128;
const GPU_BATCH: i64 = 512;

/// Time for each of the two products; the best of its rounds counts.
const ROUNDS: Duration = Duration::from_millis(400);

/// Rounds at most: beyond these a fast device shows nothing new.
const MAX_ROUNDS: u32 = 200;

/// What all memory is filled with: nothing of it is zero pages, and as a scale or a number it is
/// small and normal in every format used.
const FILL: u8 = 0x11;

/// Devices measured at most, to end within some seconds.
const MAX_MEASURED: usize = 8;

/// One of llama.cpp's devices: static data of its registry.
#[derive(Debug, Clone, Copy)]
struct Handle(sys::ggml_backend_dev_t);

/// The devices of this machine.
pub(crate) fn list() -> Vec<Device> {
    handles().into_iter().filter_map(Handle::describe).collect()
}

/// Measures the devices that can compute by themselves, the processor with so many threads.
pub(crate) fn measure(threads: Option<u32>) -> Vec<Measurement> {
    let threads = threads.unwrap_or_else(default_threads);
    let measured = handles().into_iter().filter_map(|handle| {
        let device = handle.describe()?;
        (device.kind != DeviceKind::Accelerator).then(|| handle.measure(device, threads))
    });
    measured.take(MAX_MEASURED).collect()
}

fn handles() -> Vec<Handle> {
    let _initialised = Backend::init();
    // SAFETY: the registry is filled by the initialisation and only read afterwards.
    let count = unsafe { sys::ggml_backend_dev_count() };
    // SAFETY: each index is below the count.
    let handle = |index| Handle(unsafe { sys::ggml_backend_dev_get(index) });
    (0..count).map(handle).collect()
}

impl Handle {
    /// `None` for what is no device of its own (llama.cpp's combined ones).
    fn describe(self) -> Option<Device> {
        // SAFETY: the handle is one of the registry's, which live as long as the process.
        let kind = unsafe { sys::ggml_backend_dev_type(self.0) };
        let (mut free, mut total) = (0_usize, 0_usize);
        // SAFETY: as above; both pointers are valid for a write.
        unsafe { sys::ggml_backend_dev_memory(self.0, &raw mut free, &raw mut total) };
        // SAFETY: as above; a device's registry lives as long as the device.
        let registry = unsafe { sys::ggml_backend_dev_backend_reg(self.0) };
        // SAFETY: as above; each gives a string of the registry's own, or null.
        let (name, description, backend) = unsafe {
            (
                text(sys::ggml_backend_dev_name(self.0)),
                text(sys::ggml_backend_dev_description(self.0)),
                text(sys::ggml_backend_reg_name(registry)),
            )
        };
        Some(Device {
            name,
            description,
            backend,
            kind: DeviceKind::try_from(kind).ok()?,
            memory_free_bytes: free as u64,
            memory_total_bytes: total as u64,
        })
    }

    fn measure(self, device: Device, threads: u32) -> Measurement {
        let batch = match device.kind {
            DeviceKind::Cpu => CPU_BATCH,
            _ => GPU_BATCH,
        };
        let figures = self.start(threads).and_then(|running| {
            let read = Product::new(&running, READ_ROWS, 1)?;
            let bytes_per_second = read.weight_bytes() / read.best_seconds()?;
            drop(read);
            let compute = Product::new(&running, COMPUTE_ROWS, batch)?;
            Ok((
                bytes_per_second,
                compute.operations() / compute.best_seconds()?,
            ))
        });
        let (figures, failure) = match figures {
            Ok(figures) => (figures, None),
            Err(failure) => ((0.0, 0.0), Some(failure.to_owned())),
        };
        Measurement {
            device,
            bytes_per_second: figures.0,
            flops: figures.1,
            failure,
        }
    }

    /// Makes the device ready to compute; a processor with so many threads.
    fn start(self, threads: u32) -> Result<Running, &'static str> {
        // SAFETY: the handle is one of the registry's; null parameters mean the defaults.
        let backend = unsafe { sys::ggml_backend_dev_init(self.0, std::ptr::null()) };
        let backend = NonNull::new(backend).ok_or("the device could not be started")?;
        // SAFETY: the handle is one of the registry's.
        if unsafe { sys::ggml_backend_dev_type(self.0) } == sys::GGML_BACKEND_DEVICE_TYPE_CPU {
            let threads = c_int::try_from(threads).unwrap_or(1);
            // SAFETY: the backend was just made, and is the processor's.
            unsafe { sys::ggml_backend_cpu_set_n_threads(backend.as_ptr(), threads) };
        }
        Ok(Running(backend))
    }
}

fn default_threads() -> u32 {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let physical = sysinfo::System::physical_core_count().unwrap_or(allowed);
    u32::try_from(physical.min(allowed).max(1)).unwrap_or(1)
}

/// A device that is ready to compute.
struct Running(NonNull<sys::ggml_backend>);

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: made by `ggml_backend_dev_init` and freed once; what was made with it borrows
        // it, and is gone.
        unsafe { sys::ggml_backend_free(self.0.as_ptr()) };
    }
}

/// A product of weights and vectors on a device.
struct Product<'a> {
    device: &'a Running,
    context: NonNull<sys::ggml_context>,
    buffer: Option<NonNull<sys::ggml_backend_buffer>>,
    weights: *mut sys::ggml_tensor,
    graph: *mut sys::ggml_cgraph,
    rows: i64,
    vectors: i64,
}

impl<'a> Product<'a> {
    fn new(device: &'a Running, rows: i64, vectors: i64) -> Result<Self, &'static str> {
        // SAFETY: both are plain functions without state. Room for three tensors and a graph.
        let bytes = unsafe { 4 * sys::ggml_tensor_overhead() + sys::ggml_graph_overhead() };
        let params = sys::ggml_init_params {
            mem_size: bytes,
            mem_buffer: std::ptr::null_mut(),
            no_alloc: true,
        };
        // SAFETY: the parameters are whole; the context takes memory of its own.
        let context = NonNull::new(unsafe { sys::ggml_init(params) }).ok_or("no memory")?;
        let raw = context.as_ptr();
        // SAFETY: the context is alive and has room for these tensors and the graph, which live
        // as long as it; the shapes fit (both have `WIDTH` columns, whole blocks of Q4_0).
        let (weights, product, graph) = unsafe {
            let weights = sys::ggml_new_tensor_2d(raw, sys::GGML_TYPE_Q4_0, WIDTH, rows);
            let input = sys::ggml_new_tensor_2d(raw, sys::GGML_TYPE_F32, WIDTH, vectors);
            let product = sys::ggml_mul_mat(raw, weights, input);
            let graph = sys::ggml_new_graph(raw);
            sys::ggml_build_forward_expand(graph, product);
            (weights, product, graph)
        };
        let mut this = Self {
            device,
            context,
            buffer: None,
            weights,
            graph,
            rows,
            vectors,
        };
        this.allocate(product)?;
        Ok(this)
    }

    fn allocate(&mut self, product: *const sys::ggml_tensor) -> Result<(), &'static str> {
        let device = self.device.0.as_ptr();
        // SAFETY: device and tensor are alive.
        if !unsafe { sys::ggml_backend_supports_op(device, product) } {
            return Err("the device does not compute with quantized weights");
        }
        // SAFETY: context and device are alive; null says that there is no memory.
        let buffer = unsafe { sys::ggml_backend_alloc_ctx_tensors(self.context.as_ptr(), device) };
        let buffer = NonNull::new(buffer).ok_or("the device has too little free memory")?;
        self.buffer = Some(buffer);
        // SAFETY: the buffer is alive, and of this device.
        unsafe { sys::ggml_backend_buffer_clear(buffer.as_ptr(), FILL) };
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn weight_bytes(&self) -> f64 {
        // SAFETY: the tensor lives as long as the context.
        unsafe { sys::ggml_nbytes(self.weights) as f64 }
    }

    /// A multiplication and an addition for each weight and vector.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn operations(&self) -> f64 {
        2.0 * WIDTH as f64 * self.rows as f64 * self.vectors as f64
    }

    /// The fastest of some rounds, after one that warms up.
    fn best_seconds(&self) -> Result<f64, &'static str> {
        self.compute()?;
        let begin = Instant::now();
        let mut best = Duration::MAX;
        for _ in 0..MAX_ROUNDS {
            let round = Instant::now();
            self.compute()?;
            best = best.min(round.elapsed());
            if begin.elapsed() >= ROUNDS {
                break;
            }
        }
        Ok(best.as_secs_f64().max(f64::MIN_POSITIVE))
    }

    fn compute(&self) -> Result<(), &'static str> {
        // SAFETY: device and graph are alive, and all tensors of the graph have memory. Returns
        // when the result is there.
        let status = unsafe { sys::ggml_backend_graph_compute(self.device.0.as_ptr(), self.graph) };
        if status == sys::GGML_STATUS_SUCCESS {
            Ok(())
        } else {
            Err("the device failed to compute")
        }
    }
}

impl Drop for Product<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer {
            // SAFETY: made for this product and freed once, before the device.
            unsafe { sys::ggml_backend_buffer_free(buffer.as_ptr()) };
        }
        // SAFETY: made by `ggml_init` and freed once; nothing else holds its tensors.
        unsafe { sys::ggml_free(self.context.as_ptr()) };
    }
}

/// A string of llama.cpp's as ours; empty for null.
///
/// # Safety
/// `text` is null or a string that ends in NUL and is alive.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_listed_and_measured() {
        let devices = list();
        let cpu = devices.iter().find(|device| device.kind == DeviceKind::Cpu);
        assert!(cpu.expect("there is a processor").memory_total_bytes > 1 << 28);
        let measured = measure(Some(1));
        let cpu = measured.iter().find(|m| m.device.kind == DeviceKind::Cpu);
        let cpu = cpu.expect("the processor is measured");
        assert_eq!(cpu.failure, None);
        // Any machine reads 100 MB and computes 100 million operations a second.
        assert!(cpu.bytes_per_second > 1e8 && cpu.flops > 1e8, "{cpu:?}");
    }
}
