"""Figures: a frame in, a plotly `Figure` out. One template, one palette that colour-blind readers can tell apart.

- `template`: the template "vintk", `PALETTE`, `layout`
- `scores`: scored architectures: scatter, running rank correlation, training curves
- `kernels`: probe images, spectra, eigenvalues and frequency response of tangent kernels
- `frequency`, `correlation`, `search`, `segmentation`, `architecture`: figures of those areas

Nothing is imported here, so that one area's figures do not cost the start-up time of another's.
"""
