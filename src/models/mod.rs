//! ONNX Runtime sessions, hub folders, one folder per architecture.
