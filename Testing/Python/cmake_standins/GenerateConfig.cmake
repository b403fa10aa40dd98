# Included after the modules, as in every extension; there are no targets to export here.
if(NOT DEFINED EXTENSION_NAME)
  message(FATAL_ERROR "include(\${Slicer_USE_FILE}) comes first")
endif()
