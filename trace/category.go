package trace

// Category is the kind of a slice: Kineto's cat, with old spellings folded in.
type Category uint8

// The categories that the analyses know. Others are registered per trace from CatDynamic on.
const (
	CatOther Category = iota
	CatCPUOp
	CatUserAnnotation
	CatGPUUserAnnotation
	CatCUDARuntime
	CatCUDADriver
	CatKernel
	CatGPUMemcpy
	CatGPUMemset
	CatPythonFunction
	CatCPUInstant
	CatOverhead
	CatCUDASync
	CatCUDAEvent
	CatTraceSpan
	CatMTIARuntime
	CatMTIACCP
	CatProfilerRange
	CatCollectiveComm
)
