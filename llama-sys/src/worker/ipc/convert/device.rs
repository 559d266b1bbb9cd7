//! Between devices and their wire form.

use super::super::{IpcError, wire};
use crate::devices::{Device, DeviceKind, Measurement};

pub(super) fn device_to_wire(device: Device) -> wire::Device {
    wire::Device {
        name: device.name,
        description: device.description,
        backend: device.backend,
        kind: device.kind as u32,
        memory_free_bytes: device.memory_free_bytes,
        memory_total_bytes: device.memory_total_bytes,
    }
}

pub(super) fn device_from_wire(device: wire::Device) -> Result<Device, IpcError> {
    Ok(Device {
        name: device.name,
        description: device.description,
        backend: device.backend,
        kind: DeviceKind::try_from(device.kind).map_err(|_| IpcError::Bad("device kind"))?,
        memory_free_bytes: device.memory_free_bytes,
        memory_total_bytes: device.memory_total_bytes,
    })
}

pub(super) fn measurement_to_wire(measured: Measurement) -> wire::Measurement {
    wire::Measurement {
        device: Some(device_to_wire(measured.device)),
        bytes_per_second: measured.bytes_per_second,
        flops: measured.flops,
        failure: measured.failure.unwrap_or_default(),
    }
}

pub(super) fn measurement_from_wire(measured: wire::Measurement) -> Result<Measurement, IpcError> {
    let failure = Some(measured.failure).filter(|failure| !failure.is_empty());
    Ok(Measurement {
        device: device_from_wire(measured.device.ok_or(IpcError::Missing("device"))?)?,
        bytes_per_second: measured.bytes_per_second,
        flops: measured.flops,
        failure,
    })
}
