# Stands in for a Slicer build tree: enough of its contract to configure, install and test a scripted extension.
# Where the real one stops the configure, so does this: a file that is listed and missing, an unknown keyword, a
# README that is not there. With -DSlicer_LAUNCHER_EXECUTABLE=<a real Slicer> ctest runs the tests in it.
set(Slicer_FOUND TRUE)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.13/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
set(Slicer_LAUNCHER_EXECUTABLE "Slicer" CACHE STRING "The Slicer that runs the tests")
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Pack.cmake")
